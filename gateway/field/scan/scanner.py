"""What a scan asks, in which order, at what pace: the only part of it that waits.

Nothing here writes to a device. A bus that the running gateway uses is asked through the gateway. A port
that another program has open is left alone, and so is a line on which there is traffic already.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway.base import control
from gateway.base.tasks import root_error
from gateway.config import Profile, Site
from gateway.model import (
    Clock,
    Driver,
    FailureKind,
    LinkDown,
    OverheardDevice,
    Point,
    Raw,
    ReadFailed,
    Value,
)
from gateway.wire.codec import values_by_path

from ..polled import SCAN_REQUEST_S
from .match import contradicts_identity, matching_profiles
from .ports import port_users, scannable_ports, stable_name
from .requests import encode_points, parse_keys
from .scanned_bus import ScannedBus
from .tables import FoundDevice
from .targets import CONNECT_TIMEOUT_S, accepts_connection, canonical_target, host_targets

SERIAL_TIMEOUT_S, TCP_TIMEOUT_S = 0.08, 0.3
"""Time for a reply; on a serial line that of the characters is added."""
BITS_PER_EXCHANGE = 20 * 11
"""Of a request and its reply."""
DEFAULT_BAUD = 9600
MAX_PARALLEL_CONNECTS = 64
"""Hosts of a network that are tried at once."""
MAX_PARALLEL_HOSTS = 8
"""Hosts whose devices are asked at once."""
MAX_MESSAGES_PER_DEVICE = 20
"""Different messages of one device that are compared with the models."""

Table = dict[str, Any]
AskDevice = Callable[..., Awaitable[Table]]
"""Address keys, a model's name and its points to an answer of `requests.make_scan_request`. Raises
`ReadFailed` without a reply, `LinkDown` when the bus is down for good."""


class ScanReport(Protocol):
    """Where progress and results go."""

    def announce(self, key: str, /, **facts: object) -> None:
        """Report a sentence of `words/` about the progress."""
        ...

    def progress(self, target: str, done: int, total: int) -> None:
        """Report how many addresses of a target have been asked."""
        ...

    def add_device(self, device: FoundDevice) -> None:
        """Report a device, once; more may become known of it afterwards."""
        ...


class ScanOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for."""

    numbers: frozenset[int] | None = None
    """Unit ids or board numbers; all by default."""
    bus_keys: Table = {}
    """Keys of a `[bus.…]` table that are given, such as `baud` or `username`."""
    listen_s: float | None = None
    timeout_s: float | None = None


class Scanner:
    """One scan of one kind of target."""

    def __init__(
        self,
        site: Site | None,
        models: Mapping[str, Profile],
        drivers: Mapping[str, Driver],
        report: ScanReport,
        clock: Clock,
        options: ScanOptions,
        control_socket: Path,
    ) -> None:
        self._site = site
        self._models = models
        ranked = sorted((driver.scan.priority, name) for name, driver in drivers.items() if driver.scan)
        self._drivers = {name: drivers[name] for _, name in ranked}
        self._report = report
        self._clock = clock
        self._options = options
        self._control_socket = control_socket
        self.skipped: list[str] = []
        """The targets that could not be opened."""
        self._gateway_buses: dict[str, str] = {}
        """By target, the bus of the running gateway that uses it."""

    async def scan_ports(self, ports: Sequence[str], root: Path = Path("/")) -> None:
        """Scan serial ports one after the other; without any, all of this machine."""
        await self._ask_gateway()
        chosen = [stable_name(port, root) for port in ports] or scannable_ports(root)
        if not chosen:
            self._report.announce("scan.ports-none")
        for port in chosen:
            try:
                await self._scan_port(port)
            except LinkDown as down:
                self.skipped.append(port)
                self._report.announce(f"error.{down.key}", **down.facts)

    async def _scan_port(self, port: str) -> None:
        if bus := self._gateway_buses.get(canonical_target(port)):
            await self._scan_through_gateway(port, bus)
        elif others := port_users(port):
            self.skipped.append(port)
            self._report.announce("scan.held", place=port, users=", ".join(others))
        elif await self._overhear(port):
            self._report.announce("scan.spoken", place=port)
        else:
            await self._scan_target(port, SERIAL_TIMEOUT_S)

    async def scan_hosts(self, targets: Sequence[str]) -> None:
        """Scan hosts with or without a port, and networks."""
        await self._ask_gateway()
        scans = (driver.scan for driver in self._drivers.values())
        ports = sorted({scan.tcp_port for scan in scans if scan and scan.tcp_port})
        places = [place for target in targets for place in host_targets(target, ports)]
        connecting, asking = asyncio.Semaphore(MAX_PARALLEL_CONNECTS), asyncio.Semaphore(MAX_PARALLEL_HOSTS)

        async def scan_host(place: str) -> None:
            try:
                if bus := self._gateway_buses.get(await asyncio.to_thread(canonical_target, place)):
                    await self._scan_through_gateway(place, bus)
                    return
                async with connecting:
                    if len(places) > 1 and not await accepts_connection(place):
                        return
                async with asking:
                    await self._scan_target(place, TCP_TIMEOUT_S)
            except LinkDown as down:
                self.skipped.append(place)
                self._report.announce(f"error.{down.key}", **down.facts)

        if len(places) > 1:
            seconds = round(len(places) / MAX_PARALLEL_CONNECTS * CONNECT_TIMEOUT_S)
            self._report.announce("scan.network", hosts=len(places), seconds=seconds)
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in places:
                    tasks.create_task(scan_host(place), name=place)
        except BaseExceptionGroup as group:
            raise root_error(group) from None

    async def _ask_gateway(self) -> None:
        """Ask a running gateway which targets it uses. Raises `GatewayError` when it does not answer."""
        try:
            answer = await control.call_daemon(self._control_socket, "lines")
        except control.DaemonNotRunning:
            return
        lines = answer["lines"].items()
        self._gateway_buses = {
            await asyncio.to_thread(canonical_target, place): bus for bus, place in lines
        }

    async def scan_by_listening(self, target: str) -> None:
        """Find the devices that report by themselves to a broker or by radio."""
        if not await self._overhear(target):
            self._report.announce("scan.silence", place=target)

    async def _scan_target(self, target: str, timeout_s: float) -> None:
        """Try the buses that may be at a target until a device replies: all on a wire use the same one."""
        tables = [
            (name, table)
            for name, table in self._candidate_buses(target)
            if self._candidate_addresses(name, table)
        ]
        needed_s = sum(
            len(self._candidate_addresses(name, table)) * self._timeout_s(name, table, timeout_s)
            for name, table in tables
        )
        self._report.announce("scan.begin", place=target, lines=len(tables), seconds=round(needed_s))
        reported: set[str] = set()
        was_open = False
        for name, table in tables:
            reply_timeout_s = self._timeout_s(name, table, timeout_s)
            bus = ScannedBus(self._drivers[name], table, reply_timeout_s, self._clock)
            addresses = self._candidate_addresses(name, table)
            seconds = round(len(addresses) * bus.timeout_s)
            summary = _describe_bus(target, table)
            self._report.announce("scan.line", place=target, driver=name, line=summary, seconds=seconds)
            try:
                async with bus:
                    found = await self._ask_addresses(name, target, table, bus.send_request, addresses)
            except LinkDown as down:
                # Some ports do not support every speed and parity.
                if str(down) not in reported:
                    reported.add(str(down))
                    self._report.announce(f"error.{down.key}", **down.facts)
                continue
            was_open = True
            if found:
                self._report.announce("scan.found", place=target, count=found, line=summary)
                return
        if was_open:
            self._report.announce("scan.silence", place=target)
        else:
            self.skipped.append(target)

    async def _scan_through_gateway(self, target: str, bus: str) -> None:
        """Ask through the running gateway, which uses the target: between its own polls."""
        spec = self._site.buses.get(bus) if self._site else None
        if spec is None or canonical_target(
            spec.driver.scan.target_of(spec.options) if spec.driver.scan else ""
        ) != canonical_target(target):
            self._report.announce("scan.differs", place=target, bus=bus)
            return
        name = next(name for name, driver in self._drivers.items() if driver is spec.driver)
        assert self._site
        assert spec.driver.scan
        if not spec.driver.scan.candidate_addresses:
            self._report.announce("scan.speaks", place=target, bus=bus)
            return
        ours = [device for device in self._site.devices.values() if device.bus == bus]
        for device in ours:
            address = msgspec.structs.asdict(device.address)
            self._report.add_device(
                FoundDevice(
                    driver=name,
                    target=target,
                    address=address,
                    identity={},
                    bus_table={},
                    bus=bus,
                    configured_as=device.name,
                )
            )
        taken = [device.address for device in ours]
        addresses = [
            keys
            for keys in self._select_numbers(spec.driver.scan.candidate_addresses(spec.options))
            if parse_keys(spec.driver.address, keys) not in taken
        ]

        async def ask(keys: Table, model: str = "", points: Mapping[str, Point] | None = None) -> Table:
            more = {} if points is None else {"points": encode_points(points)}
            answer = await control.call_daemon(
                self._control_socket, "scan", bus=bus, address=keys, model=model, **more
            )
            if "nobody" in answer:
                failed = ReadFailed(answer["nobody"], FailureKind(answer.get("kind", FailureKind.OTHER)))
                if failed.kind.late_reply_possible and target.startswith("tcp:"):
                    raise LinkDown("scan-queue", bus=bus)
                raise failed
            return answer

        seconds = round(len(addresses) * SCAN_REQUEST_S)
        self._report.announce("scan.through", place=target, bus=bus, seconds=seconds)
        known = [msgspec.structs.asdict(address) for address in taken]
        if not await self._ask_addresses(name, target, {}, ask, addresses, bus, known):
            self._report.announce("scan.silence", place=target)

    async def _ask_addresses(
        self,
        name: str,
        target: str,
        table: Table,
        ask_device: AskDevice,
        addresses: Sequence[Table],
        bus: str = "",
        known: Sequence[Table] = (),
    ) -> int:
        """Report the devices at these addresses, except those that are `known`. Returns how many there
        are."""
        driver, found = self._drivers[name], 0
        bus = bus or self._find_site_bus(driver, target, table)
        assert driver.scan
        actual_address, reported = driver.scan.actual_address, list[Table]()
        async for asked, identity in self._responding_addresses(target, ask_device, addresses):
            address = actual_address(identity) if actual_address else asked
            if address in (*reported, *known):
                continue
            reported.append(address)
            device = FoundDevice(
                driver=name,
                target=target,
                address=address,
                identity={key: text for key, text in identity.items() if address.get(key) != text},
                bus_table=table,
                bus=bus,
            )
            device.configured_as = self._find_site_device(driver, target, address)
            if not device.configured_as:
                wires = await self._try_models(driver, ask_device, address, identity)
                device.matches = matching_profiles(self._models_of_driver(driver), identity, wires)
            self._report.add_device(device)
            found += 1
        return found

    async def _responding_addresses(
        self, target: str, ask_device: AskDevice, addresses: Sequence[Table]
    ) -> AsyncIterator[tuple[Table, dict[str, str]]]:
        """The addresses that reply, with the identity of the device there. Some devices on TCP reply at any
        address: where all of some unlikely ones do, the first address stands for the device."""
        count = len(addresses)
        unlikely = [count - 2, count * 3 // 5, count // 3] if count >= 16 else []
        known = {index: await self._probe_address(ask_device, addresses[index]) for index in unlikely}
        if known and all(identity is not None for identity in known.values()):
            self._report.announce("scan.any", place=target)
            addresses, known = addresses[:1], {}
        for index, address in enumerate(addresses):
            self._report.progress(target, index, len(addresses))
            identity = known[index] if index in known else await self._probe_address(ask_device, address)
            if identity is not None:
                yield address, identity

    async def _probe_address(self, ask_device: AskDevice, address: Table) -> dict[str, str] | None:
        try:
            identity: dict[str, str] = (await ask_device(address))["says"]
        except ReadFailed:
            return None
        return identity

    async def _try_models(
        self, driver: Driver, ask_device: AskDevice, address: Table, identity: Mapping[str, str]
    ) -> dict[str, list[dict[str, Value]]]:
        """What each model reads from the device, for the models whose registers it has."""
        wires: dict[str, list[dict[str, Value]]] = {}
        for model, profile in self._models_of_driver(driver).items():
            if contradicts_identity(profile, identity):
                continue
            try:
                wires[model] = [(await ask_device(address, model, profile.points))["wire"]]
            except ReadFailed:
                continue
        return wires

    async def _overhear(self, target: str) -> bool:
        """Listen at a target for a while. Returns whether anything was received. Raises `LinkDown`."""
        received = asyncio.Event()
        tables = self._candidate_buses(target, pushes=True)
        jobs = [self._overhear_bus(name, target, table, received) for name, table in tables]
        scans = (self._drivers[name].scan for name, _ in tables)
        seconds = self._options.listen_s or max((scan.overhear_s for scan in scans if scan), default=0.0)
        if jobs:
            self._report.announce("scan.listen", place=target, seconds=round(seconds))
        tasks = [asyncio.create_task(job) for job in (*jobs, self._clock.sleep(seconds))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return received.is_set()

    async def _overhear_bus(self, name: str, target: str, table: Table, received: asyncio.Event) -> None:
        driver = self._drivers[name]
        assert driver.scan
        assert driver.scan.overhear
        bus = self._find_site_bus(driver, target, table)
        options = self._site.buses[bus].options if self._site and bus else parse_keys(driver.options, table)
        known: dict[str, tuple[FoundDevice, list[Raw]]] = {}
        async for overheard in driver.scan.overhear(options):
            received.set()
            if isinstance(overheard, ReadFailed):
                continue
            key = str(overheard.address)
            first = key not in known
            if first:
                device = FoundDevice(
                    driver=name,
                    target=target,
                    address=overheard.address,
                    identity={},
                    bus_table=table,
                    bus=bus,
                    configured_as=self._find_site_device(driver, target, overheard.address),
                    pushes=True,
                )
                known[key] = device, []
            self._add_message(driver, overheard, *known[key])
            if first:
                self._report.add_device(known[key][0])

    def _add_message(
        self, driver: Driver, overheard: OverheardDevice, device: FoundDevice, messages: list[Raw]
    ) -> None:
        device.identity = overheard.identity
        device.keys_to_fill_in |= overheard.keys_to_fill_in
        if (
            overheard.raw is not None
            and overheard.raw not in messages
            and len(messages) < MAX_MESSAGES_PER_DEVICE
        ):
            messages.append(overheard.raw)
            device.received = values_by_path(overheard.raw) or {"": driver.format_raw(overheard.raw)}
        models = self._models_of_driver(driver)
        wires = {
            name: [driver.decode(profile.points, raw) for raw in messages]
            for name, profile in models.items()
        }
        device.matches = matching_profiles(models, device.identity, wires)

    def _models_of_driver(self, driver: Driver) -> dict[str, Profile]:
        return {name: profile for name, profile in self._models.items() if profile.driver is driver}

    def _candidate_buses(self, target: str, *, pushes: bool = False) -> list[tuple[str, Table]]:
        """Drivers and `[bus.…]` tables that may be at a target, the site's own and the likeliest first."""
        offers: list[list[tuple[str, Table]]] = []
        for name, driver in self._drivers.items():
            scan = driver.scan
            assert scan
            fields = {field.name for field in msgspec.structs.fields(driver.options)}
            given = {key: value for key, value in self._options.bus_keys.items() if key in fields}
            if scan.overhear if pushes else scan.candidate_addresses:
                tables: list[tuple[str, Table]] = []
                for table in ({**offered, **given} for offered in scan.candidate_buses(target)):
                    if (name, table) not in tables:
                        tables.append((name, table))
                offers.append(tables)
        found = [one for some in itertools.zip_longest(*offers) for one in some if one]
        return sorted(found, key=lambda one: not self._find_site_bus(self._drivers[one[0]], target, one[1]))

    def _find_site_bus(self, driver: Driver, target: str, table: Table) -> str:
        """The name of the site's bus at this target with these options; empty if it has none."""
        scan = driver.scan
        assert scan
        real = canonical_target(target)
        for spec in self._site.buses.values() if self._site else ():
            if spec.driver is driver and canonical_target(place := scan.target_of(spec.options)) == real:
                ours = {key: str(getattr(spec.options, key)).replace(place, real) for key in table}
                if scan.shareable or ours == {
                    key: str(v).replace(target, real) for key, v in table.items()
                }:
                    return spec.name
        return ""

    def _find_site_device(self, driver: Driver, target: str, keys: Table) -> str:
        """The name of the site's device at this address; empty if it has none."""
        scan = driver.scan
        assert scan
        for device in self._site.devices.values() if self._site else ():
            assert self._site
            spec = self._site.buses[device.bus]
            if spec.driver is not driver or canonical_target(
                scan.target_of(spec.options)
            ) != canonical_target(target):
                continue
            if all(str(getattr(device.address, k)).lower() == str(v).lower() for k, v in keys.items()):
                return device.name
        return ""

    def _candidate_addresses(self, name: str, table: Table) -> list[Table]:
        driver = self._drivers[name]
        assert driver.scan
        assert driver.scan.candidate_addresses
        return self._select_numbers(driver.scan.candidate_addresses(parse_keys(driver.options, table)))

    def _select_numbers(self, addresses: Sequence[Table]) -> list[Table]:
        numbers = self._options.numbers
        return [keys for keys in addresses if numbers is None or numbers & set(keys.values())]

    def _timeout_s(self, name: str, table: Table, default_s: float) -> float:
        scan = self._drivers[name].scan
        assert scan
        serial = default_s == SERIAL_TIMEOUT_S
        characters_s = BITS_PER_EXCHANGE / table.get("baud", DEFAULT_BAUD) if serial else 0.0
        return self._options.timeout_s or max(default_s, scan.reply_s) + characters_s


def _describe_bus(target: str, table: Table) -> str:
    """A bus's options in short."""
    kind = "tcp" if target.startswith("tcp:") else ""
    words = (str(value).replace(target, kind).rstrip(":") for value in table.values())
    return " ".join(word for word in words if word) or "–"
