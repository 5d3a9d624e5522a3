"""What each protocol in `drivers/` offers: the driver contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from gateway.model.device import Action, Device, Point
from gateway.model.errors import ReadFailed
from gateway.model.sample import Raw, Value


class Bus:
    """One open line or connection: one task owns it, so no two transactions ever overlap.

    A bus opens, reads, writes and listens. It never sleeps, retries or loops over time:
    scheduling, back-off and budgets belong to the supervisor.
    """

    quirks: dict[str, Any]
    """What the bus has learned of each device, by name; it outlives the connection."""
    settle_s: float = 0.0
    """Seconds of silence the line needs after a timeout, so that a late reply finds nobody waiting."""
    timeout_s: float = 0.5
    """Seconds an answer is waited for; may be set, for a scan is in a hurry."""

    async def read(self, device: Device) -> Raw:
        """One reading. Raises `ReadFailed` or `LinkDown`."""
        raise NotImplementedError

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Act once, never retried. Returns the values that the next reading must show for it to be true.

        Raises `ReadFailed` (refused or unanswered) or `LinkDown`.
        """
        raise ReadFailed("action-unknown", device=device.name, action=action)

    async def probe(self, address: Any) -> dict[str, str]:
        """Whether somebody is at that address (the driver's `Address`), by a request that changes
        nothing, and what it says of itself. Raises `ReadFailed` (nobody is) or `LinkDown`."""
        raise NotImplementedError


class Listener(ABC):
    """A bus whose devices speak when they like. One that is a `Bus` as well is also polled."""

    @abstractmethod
    def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        """Device name and what it said (or why that is no reading), until `LinkDown`."""

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """As `Bus.write`; what the device says from then on must show the values, in one message or in
        several. Commands overlap with each other and with `listen`; one that takes too long is cancelled.
        """
        raise ReadFailed("action-unknown", device=device.name, action=action)

    async def capture_still(self) -> bytes:
        """What a camera sees now, as JPEG, for who sets it up. Raises `ReadFailed` or `LinkDown`."""
        raise ReadFailed("stills-off")

    def restore_state(self, device: str, state: bytes) -> None:  # noqa: B027
        """What `Driver.state_to_save` made of the device's last message; told before `listen` begins."""


class OverheardDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who spoke unasked while a scan listened."""

    address: dict[str, Any]
    """The keys of its `[device.…]` table."""
    identity: dict[str, str] = {}
    """What it says of itself, by the names in `Scan.identity_keys`."""
    raw: Raw = None
    """What it said, where that can be read."""
    keys_to_fill_in: dict[str, Any] = {}
    """More keys of its table, for what a person must provide first."""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """How a driver takes part in `linli scan`: what is worth trying, and what is said there. When and how
    often is the scan's business. A driver whose devices wait to be asked has `addresses`, and a bus with
    `probe`; one whose devices speak has `overhear`."""

    candidate_buses: Callable[[str], Sequence[dict[str, Any]]]
    """Pure: the `[bus.…]` tables worth trying at a target (`/dev/…`, `tcp://host:port`, `mqtt://host`,
    `ble:`), likeliest first; none where the target is not the driver's."""
    target_of: Callable[[Any], str]
    """Pure: the target that a line with these options is at."""
    priority: int = 1
    """Where several drivers have lines at a target, those of the lowest are tried first."""
    shareable: bool = False
    """Whether others may listen there at the same time."""
    candidate_addresses: Callable[[Any], Sequence[dict[str, Any]]] | None = None
    """Pure: the address keys of the `[device.…]` tables that a line with these options may have."""
    overhear: Callable[[Any], AsyncIterator[OverheardDevice | ReadFailed]] | None = None
    """What is said on a line with these options, by whomever, without ever answering; a `ReadFailed` is
    something that is none of the driver's. Raises `LinkDown`."""
    overhear_s: float = 15.0
    """Seconds that `overhear` needs until most devices have reported."""
    tcp_port: int | None = None
    """The port of devices that are given as a host or a network alone; None: the driver has no such."""
    identity_keys: tuple[str, ...] = ()
    """What a device may say of itself; a profile's `[fingerprint]` has a pattern for any of these."""


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """What each protocol in `drivers/` offers as `DRIVER`: data, and four functions."""

    options: type[msgspec.Struct]
    """The keys of a `[bus.…]` table."""
    address: type[msgspec.Struct]
    """The extra keys of a `[device.…]` table."""
    point: type[Point]
    """The keys of a profile's `[points.…]`."""
    connect: Callable[[Any, tuple[Device, ...]], AbstractAsyncContextManager[Bus | Listener]]
    """Open the line with its options, for those devices; raises `LinkDown`."""
    decode: Callable[[Mapping[str, Any], Raw], dict[str, Value]]
    """Pure: points and a raw reading to the numbers on the wire, before scaling."""
    parse_example: Callable[[Mapping[str, Any]], Raw]
    """Pure: a profile's worked example to a raw reading; raises `ValueError`."""
    format_raw: Callable[[Raw], str]
    """Pure: a raw reading as an engineer wants to see it."""
    state_to_save: Callable[[Raw], bytes] | None = None
    """Pure: what must not be forgotten when the line or the gateway begins anew, for devices that tell
    a state once and not again, or count from nought each time."""
    actions: tuple[str, ...] = ()
    """What every device of this driver can be told to do."""
    action: type[Action] | None = None
    """The keys of a profile's `[actions.…]`, where the driver has such."""
    check_device: Callable[[Device, tuple[Device, ...]], None] = lambda device, others: None
    """Pure: raises `ConfigError` for a device that its model, or the others on its bus, rule out."""
    scan: Scan | None = None
    """How it takes part in a scan, if it does."""
    allows_stills: Callable[[Any], bool] | None = None
    """Pure, of a driver whose lines are cameras: whether one with these options may be looked at, by a
    person who sets it up."""
