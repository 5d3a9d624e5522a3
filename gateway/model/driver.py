"""What each protocol in `drivers/` offers: the driver contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from gateway.model.device import Action, Device, Point
from gateway.model.errors import ReadFailed
from gateway.model.role import Role
from gateway.model.sample import Raw, Value


class Bus:
    """One open line or connection, owned by one task, so that no two transactions overlap.

    A bus opens, reads, writes and listens. It never sleeps, retries or loops over time:
    scheduling, back-off and time budgets belong to `gateway.field`.
    """

    quirks: dict[str, Any]
    """Peculiarities that the driver found, by device name; they outlive the connection."""
    settle_s: float = 0.0
    """Seconds of silence after a timeout, so that a late reply is not taken for the next one."""
    timeout_s: float = 0.5
    """Seconds to wait for a reply; a scan sets a shorter time."""

    on_pause: Callable[[], Awaitable[None]] | None = None
    """What `pause` waits for; set by `gateway.field`."""

    async def read(self, device: Device) -> Raw:
        """One reading. Raises `ReadFailed` or `LinkDown`."""
        raise NotImplementedError

    async def pause(self) -> None:
        """Await this between two requests of one reading, while no reply is outstanding: commands are sent,
        and safety devices that are due are polled. Raises `LinkDown`."""
        if self.on_pause:
            await self.on_pause()

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Execute an action once, without a retry. Returns the values by which the next reading confirms
        it.

        Raises `ReadFailed` (refused or unanswered) or `LinkDown`.
        """
        raise ReadFailed("action-unknown", device=device.name, action=action)

    async def probe(self, address: Any) -> dict[str, str]:
        """Ask the device at that address (the driver's `Address`) for its identity, by a request that
        changes nothing. Raises `ReadFailed` (no device) or `LinkDown`."""
        raise NotImplementedError


class Listener(ABC):
    """A bus whose devices push their values. One that is a `Bus` as well is also polled."""

    @abstractmethod
    def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        """Device name and raw reading (or why it could not be read), until `LinkDown`; or no name and an
        `UnknownSender`."""

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """As `Bus.write`; the device's next messages must confirm the values, in one message or in several.
        Commands overlap with each other and with `listen`; one that takes too long is cancelled.
        """
        raise ReadFailed("action-unknown", device=device.name, action=action)

    async def capture_still(self) -> bytes:
        """The camera's picture now, as JPEG, for its installation. Raises `ReadFailed` or `LinkDown`."""
        raise ReadFailed("stills-off")

    def notices(self) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """What was noticed lately that is no message of a device, for the bus doctor: keys of sentences in
        `doctor`, each with its facts."""
        return ()

    def restore_state(self, device: str, state: bytes) -> None:  # noqa: B027
        """Restore what `Driver.state_to_save` returned for the device's last message; called before
        `listen`."""


class UnknownSender(msgspec.Struct, frozen=True, kw_only=True):
    """A message from a device that is not configured."""

    address: dict[str, Any]
    """The keys of its `[device.…]` table."""
    like: str = ""
    """The configured device whose address is the same but for the order of its bytes."""
    fires: dict[str, str] = {}
    """The places behind it where there is a fire, with their names for people, as in `Sample.places`."""


class OverheardDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that sent something while a scan listened."""

    address: dict[str, Any]
    """The keys of its `[device.…]` table."""
    identity: dict[str, str] = {}
    """How it identifies itself, by the names in `Scan.identity_keys`."""
    raw: Raw = None
    """Its message, if that could be read."""
    keys_to_fill_in: dict[str, Any] = {}
    """Further keys of its table that a person must fill in."""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """How a driver takes part in `linli scan`: what to try, and what to receive. The scan decides when and
    how often. A driver of polled devices has `candidate_addresses`, and a bus with `probe`; one of devices
    that push has `overhear`."""

    candidate_buses: Callable[[str], Sequence[dict[str, Any]]]
    """Pure: the `[bus.…]` tables worth trying at a target (`/dev/…`, `tcp://host:port`, `mqtt://host`,
    `ble:`), most likely first; empty if the driver does not support the target."""
    target_of: Callable[[Any], str]
    """Pure: the target of a bus with these options."""
    priority: int = 1
    """Where several drivers support a target, the lowest number is tried first."""
    shareable: bool = False
    """Whether several clients may use the target at the same time."""
    candidate_addresses: Callable[[Any], Sequence[dict[str, Any]]] | None = None
    """Pure: the address keys of `[device.…]` tables that are possible on a bus with these options."""
    overhear: Callable[[Any], AsyncIterator[OverheardDevice | ReadFailed]] | None = None
    """Receive from any device on a bus with these options, without ever replying; a `ReadFailed` is data of
    another protocol. Raises `LinkDown`."""
    overhear_s: float = 15.0
    """Seconds that `overhear` needs until most devices have reported."""
    tcp_port: int | None = None
    """The port to try where the target is only a host or a network; None: the driver has none."""
    actual_address: Callable[[dict[str, str]], dict[str, Any]] | None = None
    """Pure: the address keys of the device that `probe` found, by its identity, where several devices may
    reply at one address (a broadcast). None: the address that was asked."""
    reply_s: float = 0.0
    """Seconds that a device may take to reply, where that is longer than usual."""
    identity_keys: tuple[str, ...] = ()
    """What a device may state about itself; a profile's `[fingerprint]` has patterns for some of these."""


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """What each protocol in `drivers/` exports as `DRIVER`."""

    options: type[msgspec.Struct]
    """The keys of a `[bus.…]` table."""
    address: type[msgspec.Struct]
    """The extra keys of a `[device.…]` table."""
    point: type[Point]
    """The keys of a profile's `[points.…]`."""
    connect: Callable[[Any, tuple[Device, ...]], AbstractAsyncContextManager[Bus | Listener]]
    """Open a bus with these options, for these devices; raises `LinkDown`."""
    decode: Callable[[Mapping[str, Any], Raw], Mapping[str, Value | None]]
    """Pure: points and a raw reading to the numbers on the wire, before scaling. None: readings of this
    kind are not about that point, so that it is not missing."""
    parse_example: Callable[[Mapping[str, Any]], Raw]
    """Pure: a profile's worked example to a raw reading; raises `ValueError`."""
    format_raw: Callable[[Raw], str]
    """Pure: a raw reading as text for an engineer."""
    places: Callable[[Mapping[str, Any], Raw], dict[str, dict[str, str]]] | None = None
    """Pure: as `Sample.places`, for devices that report for many places, such as fire panels."""
    split: Callable[[Mapping[str, Any], Raw], list[Raw]] = lambda points, raw: [raw]
    """Pure: the readings in what was received, in the order of their times: a device that was offline may
    send all that it has kept at once. A listener yields each of them. Raises `ReadFailed`."""
    state_to_save: Callable[[Raw], bytes] | None = None
    """Pure: the state to restore after a restart of the line or the gateway, for devices that report a
    change only once, or count from zero after each start."""
    actions: Mapping[str, Role] = {}
    """Actions of every device of this driver, and the least role that may do each on the dashboard."""
    action: type[Action] | None = None
    """The keys of a profile's `[actions.…]`, if the driver supports them."""
    check_device: Callable[[Device, tuple[Device, ...], Any], None] = lambda device, others, options: None
    """Pure: raises `ConfigError` for a device that is impossible by its profile, beside the others on its
    bus, or with the options of that bus."""
    silence_s: float | None = None
    """Of devices that push: the longest silence to expect, unless the site file says (`every`)."""
    may_retain: bool = False
    """Whether its devices' messages may be retained, and profiles may say what that means."""
    scan: Scan | None = None
    """None: the driver takes no part in scans."""
    occupies: Callable[[Any], str | None] | None = None
    """Pure: what a bus with these options needs for itself alone: the path of a port, or the host:port that
    it listens on. None: the target of its scan, unless that is shareable."""
    can_send: Callable[[Any], bool] = lambda options: True
    """Pure: whether the actions of devices can be sent on a bus with these options."""
    allows_stills: Callable[[Any], bool] | None = None
    """Pure, of camera drivers: whether the options allow still pictures for the installation."""
