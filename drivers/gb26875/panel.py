"""The states that a fire panel has reported, and what is saved of them.

What each component, system and the device itself has reported holds until it reports otherwise or is
reset, and a point is true while any of them holds it: one detector that recovers never hides another.
`where` names the newest fire: system type / system address / component type / component address and
description. Bit 0 of a status (1 = normal, 0 = test) is not read: real devices report fires with it at 0.

A reset (操作信息, bit 0; or bit 13 of a system's status, when it turns to 1) clears what that system
holds, but no disablement: GB 4717 keeps those on a reset, and has what still persists reported again
within 20 s. An answer with operations is about the past and resets nothing.

A fire is reported once, and three times more if it is not confirmed. So what holds is saved across a
restart of the gateway (`PanelState`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from gateway.model import MORE_PLACES

from .packets import (
    ANSWER,
    COMPONENT,
    DEVICE,
    DEVICE_OPERATION,
    OPERATION,
    READ_COMPONENTS,
    READ_DEVICE,
    READ_SYSTEMS,
    SEND,
    SYSTEM,
    FirePacket,
    decode_text,
    iter_objects,
)

MAX_SYSTEMS_PER_PACKET, MAX_COMPONENTS_PER_PACKET = 102, 22
"""Objects in one packet."""
MAX_PARTS = 2048
"""Components, systems and devices with a state at the same time, and one more that stands for all others: a
device must not fill the memory."""
MORE_PLACES_KEY = b"*"
"""The part that stands for all that find no room."""
SENT_AGAIN_WITHIN_S = 60.0
"""A packet is sent again three times, each time after 10 s at most. The same operation after this time is a
new one of a device whose numbers start again, or never change, and whose clock stands still."""
MAX_QUERIED_COMPONENTS = 220
"""After a reconnection, those in alarm first."""

Field = Literal[
    "fire",
    "manual_alarm",
    "fault",
    "disabled",
    "supervisory",
    "started",
    "feedback",
    "delayed",
    "power_fault",
    "line_fault",
    "manual_mode",
    "reset",
]
STATUS_BITS: tuple[Field, ...] = (
    "fire", "fault", "disabled", "supervisory", "started", "feedback", "delayed", "power_fault",
)  # fmt: skip
"""Status bits from bit 1 on."""
STATE_FORMATS: dict[int, tuple[int, int, int, tuple[Field | Literal[""], ...]]] = {
    SYSTEM: (10, 2, 2, (*STATUS_BITS, "power_fault", "line_fault", "manual_mode", "", "reset")),
    COMPONENT: (46, 7, 2, STATUS_BITS),
    DEVICE: (7, 0, 1, ("fire", "fault", "power_fault", "power_fault", "line_fault", "line_fault")),
}
"""By type: bytes of an object with its time, of its identity, of its status; and the status bits."""
OPERATION_FORMATS = {OPERATION: (10, 2), DEVICE_OPERATION: (8, 0)}
RESET, MANUAL_ALARM, ALARM_CLEARED, DUTY_ANSWERED = 1 << 0, 1 << 2, 1 << 3, 1 << 5
ALARM_STATES: frozenset[Field] = frozenset({"fire", "manual_alarm"})
STATES_KEPT_ON_RESET: frozenset[Field] = frozenset({"disabled", "reset"})
"""States that a reset does not clear."""


class PanelReading(msgspec.Struct, frozen=True):
    """The states behind one transmission device after a packet."""

    active_states: frozenset[Field]
    fire_location: str
    places: dict[Field, dict[str, str]]
    """By state, where it holds: as `Driver.places`."""
    packet: bytes
    saved_state: bytes


class ComponentState(msgspec.Struct, frozen=True):
    """The states of one component, system or the device itself."""

    active_states: frozenset[Field]
    description: str = ""


class PanelState(msgspec.Struct, frozen=True, array_like=True):
    """What is saved across a restart: the parts, the newest fire last, and all systems seen so far."""

    parts: list[tuple[bytes, list[Field], str]] = []
    systems: list[bytes] = []


class Panel:
    """Everything behind one transmission device, by type and identity as sent."""

    def __init__(
        self,
        saved_state: bytes = b"",
        max_parts: int = MAX_PARTS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._max_parts = max_parts
        saved = _decode_state(saved_state)
        self._parts = {key: ComponentState(frozenset(holds), text) for key, holds, text in saved.parts}
        self._systems = dict.fromkeys(saved.systems)
        self._last_operation: tuple[int, bytes, float] = 0, b"", 0.0
        """The number and the data of the latest operation, and when it came, in monotonic seconds."""
        self._reading: PanelReading | None = None
        """The latest one; None after a change."""

    def apply_packet(self, packet: FirePacket) -> PanelReading:
        """Apply the states in a valid packet. Objects that are cut short count if their status is there."""
        kind = packet.data[:1]
        if packet.command in (SEND, ANSWER) and kind:
            if kind[0] in STATE_FORMATS:
                self._apply_states(kind, packet.data)
            elif kind[0] in OPERATION_FORMATS and packet.command == SEND:
                # A reset that is repeated must not clear what was reported after it; an alarm may well be
                # raised again.
                self._apply_operations(kind, packet.data, clears=not self._is_sent_again(packet))
        if self._reading is None:
            places = self._places()
            states = frozenset(name for name, where in places.items() if where)
            self._reading = PanelReading(states, self._newest_fire(), places, b"", self._encode_state())
        return msgspec.structs.replace(self._reading, packet=packet.encode())

    def state_queries(self) -> list[bytes]:
        """The data units of the requests for the present states, after a reconnection."""
        parts = sorted(self._parts.items(), key=lambda item: not item[1].active_states & ALARM_STATES)
        components = [key[1:3] + key[4:] for key, _ in parts if key[0] == COMPONENT]
        del components[MAX_QUERIED_COMPONENTS:]
        pages = [
            (READ_COMPONENTS, components[start : start + MAX_COMPONENTS_PER_PACKET])
            for start in range(0, len(components), MAX_COMPONENTS_PER_PACKET)
        ]
        asked = [(READ_DEVICE, [b"\0"]), (READ_SYSTEMS, list(self._systems)), *pages]
        return [bytes((kind, len(whom))) + b"".join(whom) for kind, whom in asked if whom]

    def _places(self) -> dict[Field, dict[str, str]]:
        places: dict[Field, dict[str, str]] = {name: {} for name in get_args(Field)}
        for key, part in self._parts.items():
            address = _address(key)
            for name in part.active_states:
                places[name][address] = part.description
        return places

    def _encode_state(self) -> bytes:
        parts = [(key, sorted(part.active_states), part.description) for key, part in self._parts.items()]
        return msgspec.msgpack.encode(PanelState(parts, list(self._systems)))

    def _apply_states(self, kind: bytes, data: bytes) -> None:
        size, identity, width, names = STATE_FORMATS[kind[0]]
        for part in iter_objects(data, size):
            if len(part) < identity + width:
                break
            status = int.from_bytes(part[identity : identity + width], "little")
            holds = frozenset(name for bit, name in enumerate(names, 1) if name and status >> bit & 1)
            was_reset = "reset" in self._states_of(kind + part[:identity])
            if kind[0] == SYSTEM and "reset" in holds and not was_reset:
                self._reset(part[:identity])
            if kind[0] != DEVICE:
                self._add_system(part[:2])
            text = decode_text(part[identity + width : 40]) if kind[0] == COMPONENT else ""
            self._set_part(kind + part[:identity], ComponentState(holds, text))

    def _is_sent_again(self, packet: FirePacket) -> bool:
        """Whether an operation is the latest one once more; else it is the latest from now on."""
        now = self._now()
        number, data, at = self._last_operation
        if (number, data) == (packet.sequence, packet.data) and now - at < SENT_AGAIN_WITHIN_S:
            return True
        self._last_operation = packet.sequence, packet.data, now
        return False

    def _apply_operations(self, kind: bytes, data: bytes, clears: bool) -> None:
        size, identity = OPERATION_FORMATS[kind[0]]
        for operation in iter_objects(data, size):
            if len(operation) <= identity:
                break
            system, act = operation[:identity], operation[identity]
            if system:
                self._add_system(system)
            if clears and act & RESET:
                self._reset(system)
            if clears and act & ALARM_CLEARED:
                self._reduce_system(system, lambda holds: holds - ALARM_STATES)
            if act & MANUAL_ALARM:
                self._set_part(kind + system, ComponentState(frozenset({"manual_alarm"})))

    def _add_system(self, system: bytes) -> None:
        if system not in self._systems and len(self._systems) < MAX_SYSTEMS_PER_PACKET:
            self._systems[system] = None
            self._reading = None

    def _states_of(self, key: bytes) -> frozenset[Field]:
        return self._parts[key].active_states if key in self._parts else frozenset()

    def _reset(self, system: bytes) -> None:
        self._set_part(MORE_PLACES_KEY, ComponentState(frozenset()))
        self._reduce_system(system, lambda holds: holds & STATES_KEPT_ON_RESET)

    def _reduce_system(self, system: bytes, states: Callable[[frozenset[Field]], frozenset[Field]]) -> None:
        for key, part in list(self._parts.items()):
            if key[1:3] == system:
                self._set_part(key, ComponentState(states(part.active_states), part.description))

    def _set_part(self, key: bytes, part: ComponentState) -> None:
        old = self._parts.get(key, ComponentState(frozenset()))
        if part.active_states == old.active_states and part.description == old.description:
            return
        self._reading = None
        if not part.active_states or "fire" in part.active_states - old.active_states:
            self._parts.pop(key, None)  # The newest fire stands last.
        if not part.active_states:
            return
        if key not in self._parts and len(self._parts) >= self._max_parts:
            key, part = self._make_room(key, part)
        self._parts[key] = part

    def _make_room(self, key: bytes, part: ComponentState) -> tuple[bytes, ComponentState]:
        """Parts without an alarm give way to one with it. Returns what must be stored: of all that find no
        room only the states are known, not the places."""
        quiet = (
            other
            for other, held in self._parts.items()
            if not held.active_states & ALARM_STATES and other != MORE_PLACES_KEY
        )
        replaced = next(quiet, None) if part.active_states & ALARM_STATES else None
        unplaced = self._parts.pop(replaced) if replaced else part
        more = ComponentState(self._states_of(MORE_PLACES_KEY) | unplaced.active_states)
        if replaced is None:
            return MORE_PLACES_KEY, more
        self._parts[MORE_PLACES_KEY] = more
        return key, part

    def _newest_fire(self) -> str:
        fires = [key for key, part in self._parts.items() if "fire" in part.active_states]
        components = [key for key in fires if key[0] == COMPONENT]
        if not fires:
            return ""
        key = (components or fires)[-1]
        return f"{_address(key)} {self._parts[key].description}".strip()


def _address(key: bytes) -> str:
    """System type / system address / component type / component address; "" is the device itself."""
    if key == MORE_PLACES_KEY:
        return MORE_PLACES
    address = "/".join(str(byte) for byte in key[1:4])
    return address + "/" + ".".join(str(byte) for byte in key[4:]) if key[0] == COMPONENT else address


def _decode_state(saved_state: bytes) -> PanelState:
    try:
        return msgspec.msgpack.decode(saved_state, type=PanelState) if saved_state else PanelState()
    except msgspec.MsgspecError:
        return PanelState()  # Saved by another version: only new reports count.
