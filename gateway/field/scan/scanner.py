"""What is asked, in which order, at what pace: the only part of a scan that waits.

Nothing here writes to a device. A line that the running gateway owns is asked through the gateway, a port
that anybody else has open is left alone, and so is a line on which somebody speaks already.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from gateway.base import control
from gateway.base.tasks import root_error
from gateway.config import Profile, Site
from gateway.model import (
    Bus,
    Clock,
    Driver,
    FailureKind,
    GatewayError,
    LinkDown,
    OverheardDevice,
    Point,
    Raw,
    ReadFailed,
    Value,
)
from gateway.wire.codec import leaves

from ..polled import SCAN_REQUEST_S
from .ask import encode_points, parse_keys, scan_request
from .fit import contradicts, fits
from .paste import Met
from .ports import BY_ID, named, stable, users

SERIAL, TCP = 0.08, 0.3
"""Seconds an answer is waited for. On a serial line the time of the characters comes on top."""
CHARACTERS = 20 * 11
"""Bits of a request and its answer."""
BAUD = 9600
DOWNS = 3
"""Times in a row that a line may break."""
KNOCKS, KNOCK = 64, 1.0
"""Hosts of a network that are tried at once, and the seconds each has to accept a connection."""
HOSTS = 8
"""Hosts that are asked at once."""
LARGEST = 1024
"""Addresses of a network."""
MESSAGES = 20
"""Different messages of one device that are kept."""

Table = dict[str, Any]
Asking = Callable[..., Awaitable[Table]]
"""Address keys, a model's name and its points to an answer of `ask.scan_request`. Raises `ReadFailed` when
nobody answers, `LinkDown` when the line is gone for good."""


class Report(Protocol):
    """Who is told."""

    def tell(self, key: str, /, **facts: object) -> None:
        """A sentence on how it goes."""
        ...

    def progress(self, place: str, done: int, total: int) -> None:
        """How far a line has been asked."""
        ...

    def meet(self, met: Met) -> None:
        """Somebody was met; said once, though more may become known of them."""
        ...


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the person asked for."""

    numbers: frozenset[int] | None = None
    """Unit ids or board numbers; all by default."""
    line: Table = {}
    """Keys that a line must have, such as `baud`; those that it may have besides, such as `username`."""
    seconds: float | None = None
    timeout: float | None = None


class Scanner:
    """One scan of one kind of target."""

    def __init__(
        self,
        site: Site | None,
        models: Mapping[str, Profile],
        drivers: Mapping[str, Driver],
        report: Report,
        clock: Clock,
        wishes: Wishes,
        control_socket: Path,
    ) -> None:
        self._site = site
        self._models = models
        ranked = sorted((driver.scan.priority, name) for name, driver in drivers.items() if driver.scan)
        self._drivers = {name: drivers[name] for _, name in ranked}
        self._report = report
        self._clock = clock
        self._wishes = wishes
        self._socket = control_socket
        self._owned: dict[str, str] = {}
        """Places that the running gateway owns, and its lines there."""

    async def serial(self, ports: Sequence[str], by_id: Path = BY_ID) -> None:
        """Ports, one after the other; without any, all that have a lasting name."""
        await self._ask_gateway()
        chosen = [stable(port, by_id) for port in ports] or [str(name) for name in named(by_id)]
        if not chosen:
            self._report.tell("scan.ports-none", folder=by_id)
        for port in chosen:
            try:
                await self._port(port)
            except LinkDown as down:
                self._report.tell(f"error.{down.key}", **down.facts)

    async def _port(self, port: str) -> None:
        if bus := self._owned.get(_real(port)):
            await self._through(port, bus)
        elif others := users(port):
            self._report.tell("scan.held", place=port, users=", ".join(others))
        elif await self._overhear(port):
            self._report.tell("scan.spoken", place=port)
        else:
            await self._lines(port, SERIAL)

    async def tcp(self, targets: Sequence[str]) -> None:
        """Hosts with or without a port, and networks."""
        await self._ask_gateway()
        scans = (driver.scan for driver in self._drivers.values())
        ports = sorted({scan.tcp_port for scan in scans if scan and scan.tcp_port})
        places = [place for target in targets for place in _hosts(target, ports)]
        knocks, asks = asyncio.Semaphore(KNOCKS), asyncio.Semaphore(HOSTS)

        async def visit(place: str) -> None:
            try:
                if bus := self._owned.get(await asyncio.to_thread(_real, place)):
                    await self._through(place, bus)
                    return
                async with knocks:
                    if len(places) > 1 and not await _opens(place):
                        return
                async with asks:
                    await self._lines(place, TCP)
            except LinkDown as down:
                self._report.tell(f"error.{down.key}", **down.facts)

        if len(places) > 1:
            self._report.tell(
                "scan.network", hosts=len(places), seconds=round(len(places) / KNOCKS * KNOCK)
            )
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in places:
                    tasks.create_task(visit(place), name=place)
        except BaseExceptionGroup as group:
            raise root_error(group) from None

    async def _ask_gateway(self) -> None:
        """Learn what the running gateway owns. Raises `GatewayError` when it runs, and does not say."""
        try:
            answer = await control.call(self._socket, "lines")
        except control.DaemonAway:
            return
        lines = answer["lines"].items()
        self._owned = {await asyncio.to_thread(_real, place): bus for bus, place in lines}

    async def listen(self, target: str) -> None:
        """A broker or the radio: whoever speaks there."""
        if not await self._overhear(target):
            self._report.tell("scan.silence", place=target)

    async def _lines(self, target: str, patience: float) -> None:
        """The lines that may be at a target, until one answers: all that share a wire share its speed."""
        tables = self._tables(target)
        needed = sum(
            len(self._addresses(name, table)) * self._patience(table, patience) for name, table in tables
        )
        self._report.tell("scan.begin", place=target, lines=len(tables), seconds=round(needed))
        told: set[str] = set()
        for name, table in tables:
            line = _Line(self._drivers[name], table, self._patience(table, patience), self._clock)
            addresses = self._addresses(name, table)
            seconds = round(len(addresses) * line.patience)
            words = _words(target, table)
            self._report.tell("scan.line", place=target, driver=name, line=words, seconds=seconds)
            try:
                async with line:
                    found = await self._ask_all(name, target, table, line.ask, addresses)
            except LinkDown as down:
                # Some ports cannot do every speed and parity.
                if str(down) not in told:
                    told.add(str(down))
                    self._report.tell(f"error.{down.key}", **down.facts)
                continue
            if found:
                self._report.tell("scan.found", place=target, count=found, line=words)
                return
        self._report.tell("scan.silence", place=target)

    async def _through(self, target: str, bus: str) -> None:
        """Ask by the running gateway, which owns the line: at its own speed, and when it has the time."""
        spec = self._site.buses.get(bus) if self._site else None
        if spec is None or _real(
            spec.driver.scan.target_of(spec.options) if spec.driver.scan else ""
        ) != _real(target):
            self._report.tell("scan.differs", place=target, bus=bus)
            return
        name = next(name for name, driver in self._drivers.items() if driver is spec.driver)
        assert self._site
        assert spec.driver.scan
        if not spec.driver.scan.candidate_addresses:
            self._report.tell("scan.speaks", place=target, bus=bus)
            return
        ours = [device for device in self._site.devices.values() if device.bus == bus]
        for device in ours:
            address = msgspec.structs.asdict(device.address)
            self._report.meet(
                Met(
                    driver=name,
                    place=target,
                    address=address,
                    says={},
                    line={},
                    bus=bus,
                    device=device.name,
                )
            )
        taken = [device.address for device in ours]
        addresses = [
            keys
            for keys in self._wanted(spec.driver.scan.candidate_addresses(spec.options))
            if parse_keys(spec.driver.address, keys) not in taken
        ]

        async def ask(keys: Table, model: str = "", points: Mapping[str, Point] | None = None) -> Table:
            more = {} if points is None else {"points": encode_points(points)}
            answer = await control.call(self._socket, "scan", bus=bus, address=keys, model=model, **more)
            if "nobody" in answer:
                failed = ReadFailed(answer["nobody"], FailureKind(answer["kind"]))
                if failed.kind.late_reply_possible and target.startswith("tcp:"):
                    raise LinkDown("scan-queue", bus=bus)
                raise failed
            return answer

        seconds = round(len(addresses) * SCAN_REQUEST_S)
        self._report.tell("scan.through", place=target, bus=bus, seconds=seconds)
        if not await self._ask_all(name, target, {}, ask, addresses, bus):
            self._report.tell("scan.silence", place=target)

    async def _ask_all(
        self, name: str, target: str, table: Table, ask: Asking, addresses: Sequence[Table], bus: str = ""
    ) -> int:
        """How many there are at these addresses."""
        driver, found = self._drivers[name], 0
        bus = bus or self._site_bus(driver, target, table)
        async for address, says in self._answering(target, ask, addresses):
            met = Met(driver=name, place=target, address=address, says=says, line=table, bus=bus)
            met.device = self._configured(driver, target, address)
            if not met.device:
                wires = await self._try_models(driver, ask, address, says)
                met.fits = fits(self._models_of(driver), says, wires)
            self._report.meet(met)
            found += 1
        return found

    async def _answering(
        self, target: str, ask: Asking, addresses: Sequence[Table]
    ) -> AsyncIterator[tuple[Table, dict[str, str]]]:
        """Those addresses where somebody is. Some devices on TCP answer by any: where all of some odd ones
        do, the first stands for the device."""
        count = len(addresses)
        odd = [count - 2, count * 3 // 5, count // 3] if count >= 16 else []
        known = {place: await self._probe(ask, addresses[place]) for place in odd}
        if known and all(says is not None for says in known.values()):
            self._report.tell("scan.any", place=target)
            addresses, known = addresses[:1], {}
        for place, address in enumerate(addresses):
            self._report.progress(target, place, len(addresses))
            says = known[place] if place in known else await self._probe(ask, address)
            if says is not None:
                yield address, says

    async def _probe(self, ask: Asking, address: Table) -> dict[str, str] | None:
        try:
            says: dict[str, str] = (await ask(address))["says"]
        except ReadFailed:
            return None
        return says

    async def _try_models(
        self, driver: Driver, ask: Asking, address: Table, says: Mapping[str, str]
    ) -> dict[str, list[dict[str, Value]]]:
        """What each model would read there, if the device grants it all of that."""
        wires: dict[str, list[dict[str, Value]]] = {}
        for model, profile in self._models_of(driver).items():
            if contradicts(profile, says):
                continue
            try:
                wires[model] = [(await ask(address, model, profile.points))["wire"]]
            except ReadFailed:
                continue
        return wires

    async def _overhear(self, target: str) -> bool:
        """Listen at a target for a while; whether anybody spoke. Raises `LinkDown`."""
        spoken = asyncio.Event()
        tables = self._tables(target, speaking=True)
        jobs = [self._hear(name, target, table, spoken) for name, table in tables]
        scans = (self._drivers[name].scan for name, _ in tables)
        seconds = self._wishes.seconds or max((scan.overhear_s for scan in scans if scan), default=0.0)
        if jobs:
            self._report.tell("scan.listen", place=target, seconds=round(seconds))
        tasks = [asyncio.create_task(job) for job in (*jobs, self._clock.sleep(seconds))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return spoken.is_set()

    async def _hear(self, name: str, target: str, table: Table, spoken: asyncio.Event) -> None:
        driver = self._drivers[name]
        assert driver.scan
        assert driver.scan.overhear
        bus = self._site_bus(driver, target, table)
        options = self._site.buses[bus].options if self._site and bus else parse_keys(driver.options, table)
        known: dict[str, tuple[Met, list[Raw]]] = {}
        async for one in driver.scan.overhear(options):
            spoken.set()
            if isinstance(one, ReadFailed):
                continue
            key = str(one.address)
            first = key not in known
            if first:
                device = self._configured(driver, target, one.address)
                met = Met(driver=name, place=target, address=one.address, says={}, line=table, bus=bus,
                          device=device, speaks=True)  # fmt: skip
                known[key] = met, []
            self._learn(driver, one, *known[key])
            if first:
                self._report.meet(known[key][0])

    def _learn(self, driver: Driver, one: OverheardDevice, met: Met, messages: list[Raw]) -> None:
        met.says = one.identity
        met.needs |= one.keys_to_fill_in
        if one.raw is not None and one.raw not in messages and len(messages) < MESSAGES:
            messages.append(one.raw)
            met.heard = leaves(one.raw) or {"": driver.format_raw(one.raw)}
        models = self._models_of(driver)
        wires = {
            name: [driver.decode(profile.points, raw) for raw in messages]
            for name, profile in models.items()
        }
        met.fits = fits(models, met.says, wires)

    def _models_of(self, driver: Driver) -> dict[str, Profile]:
        return {name: profile for name, profile in self._models.items() if profile.driver is driver}

    def _tables(self, target: str, *, speaking: bool = False) -> list[tuple[str, Table]]:
        """The lines that may be at a target, likeliest first, and the site's own before all."""
        offers: list[list[tuple[str, Table]]] = []
        for name, driver in self._drivers.items():
            scan = driver.scan
            assert scan
            fields = {field.name for field in msgspec.structs.fields(driver.options)}
            wished = {key: value for key, value in self._wishes.line.items() if key in fields}
            if scan.overhear if speaking else scan.candidate_addresses:
                tables: list[tuple[str, Table]] = []
                for table in ({**offered, **wished} for offered in scan.candidate_buses(target)):
                    if (name, table) not in tables:
                        tables.append((name, table))
                offers.append(tables)
        found = [one for some in itertools.zip_longest(*offers) for one in some if one]
        return sorted(found, key=lambda one: not self._site_bus(self._drivers[one[0]], target, one[1]))

    def _site_bus(self, driver: Driver, target: str, table: Table) -> str:
        """The site's line that is at this target, with these options; empty if it has none."""
        scan = driver.scan
        assert scan
        real = _real(target)
        for spec in self._site.buses.values() if self._site else ():
            if spec.driver is driver and _real(place := scan.target_of(spec.options)) == real:
                ours = {key: str(getattr(spec.options, key)).replace(place, real) for key in table}
                if scan.shareable or ours == {
                    key: str(v).replace(target, real) for key, v in table.items()
                }:
                    return spec.name
        return ""

    def _configured(self, driver: Driver, target: str, keys: Table) -> str:
        """The site's device at this address; empty if it has none."""
        scan = driver.scan
        assert scan
        for device in self._site.devices.values() if self._site else ():
            assert self._site
            spec = self._site.buses[device.bus]
            if spec.driver is not driver or _real(scan.target_of(spec.options)) != _real(target):
                continue
            if all(str(getattr(device.address, k)).lower() == str(v).lower() for k, v in keys.items()):
                return device.name
        return ""

    def _addresses(self, name: str, table: Table) -> list[Table]:
        driver = self._drivers[name]
        assert driver.scan
        assert driver.scan.candidate_addresses
        return self._wanted(driver.scan.candidate_addresses(parse_keys(driver.options, table)))

    def _wanted(self, addresses: Sequence[Table]) -> list[Table]:
        numbers = self._wishes.numbers
        return [keys for keys in addresses if numbers is None or numbers & set(keys.values())]

    def _patience(self, table: Table, usual: float) -> float:
        characters = CHARACTERS / table.get("baud", BAUD) if usual == SERIAL else 0.0
        return self._wishes.timeout or usual + characters


class _Line:
    """A line of our own, opened when it is needed and again when it broke."""

    def __init__(self, driver: Driver, table: Table, patience: float, clock: Clock) -> None:
        self._driver = driver
        self._options = parse_keys(driver.options, table)
        self.patience = patience
        self._clock = clock
        self._open = AsyncExitStack()
        self._bus: Bus | None = None
        self._downs = 0

    async def __aenter__(self) -> _Line:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def ask(self, keys: Table, model: str = "", points: Mapping[str, Point] | None = None) -> Table:
        """As `Asking`."""
        ask = scan_request(self._driver, parse_keys(self._driver.address, keys), model, points)
        try:
            bus = self._bus or await self._connect()
            answer = await ask(bus)
        except LinkDown as down:
            self._bus = None
            await self._open.aclose()
            self._downs += 1
            if self._downs == DOWNS or down.key == "line-open":
                raise
            raise ReadFailed(down.key) from down
        except ReadFailed as failed:
            if points is not None and bus.settle_s and failed.kind.late_reply_possible:
                # Late, it could be taken for the answer to the next request.
                await self._clock.sleep(2 * self.patience)
            raise
        self._downs = 0
        return answer

    async def _connect(self) -> Bus:
        bus = await self._open.enter_async_context(self._driver.connect(self._options, ()))
        assert isinstance(bus, Bus)
        bus.timeout_s = self.patience
        self._bus = bus
        return bus


def _words(target: str, table: Table) -> str:
    """A line's options in short."""
    kind = "tcp" if target.startswith("tcp:") else ""
    words = (str(value).replace(target, kind).rstrip(":") for value in table.values())
    return " ".join(word for word in words if word) or "–"


def _real(place: str) -> str:
    """A name that two names of one thing share."""
    if "://" not in place and not place.endswith(":"):
        return os.path.realpath(place)
    if not place.startswith("tcp://"):
        return place
    host, _, port = place.removeprefix("tcp://").rpartition(":")
    try:
        return f"tcp://{socket.getaddrinfo(host.strip('[]'), None)[0][4][0]}:{port}"
    except OSError:
        return place


def _hosts(target: str, ports: Sequence[int]) -> list[str]:
    """The places that a host, a host with its port, or a network stands for; `ports` are those of hosts
    that are given without one. Raises `GatewayError`."""
    target = target.removeprefix("tcp://")
    try:
        if "/" in target:
            network = ipaddress.ip_network(target, strict=False)
            if network.num_addresses > LARGEST:
                raise GatewayError("scan-network-large", most=LARGEST)
            return [f"tcp://{host}:{port}" for host in network.hosts() for port in ports]
        url = urlsplit(f"//{target}")
        own = [url.port] if url.port else ports
    except ValueError as error:
        raise GatewayError("scan-target", target=target, reason=error) from error
    if not url.hostname:
        raise GatewayError("scan-target", target=target, reason="")
    return [f"tcp://{url.netloc.removesuffix(f':{port}')}:{port}" for port in own]


async def _opens(place: str) -> bool:
    url = urlsplit(place)
    try:
        async with asyncio.timeout(KNOCK):
            _, writer = await asyncio.open_connection(url.hostname, url.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
