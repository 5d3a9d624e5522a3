"""What a fire panel's objects say, and what is remembered of it.

What each component, system and the device itself has told is held until it tells otherwise or is reset,
and a point is true while any of them holds it: one detector going quiet never hides another. `where`
names the newest fire: system type / system address / component type / component address, description.
Bit 0 of a status (1 = normal, 0 = test) is not read at all: real devices report fires with it at 0.

A reset (操作信息, bit 0; or bit 13 of a system's status, when it turns to 1) clears what that system
holds, but no disablement: GB 4717 lets those outlive a reset, and has what still persists told anew
within 20 s. An answer with operations tells of the past and resets nothing.

A fire is told once, and three times more if nobody confirms it. So what is held outlives a restart of
the gateway (`Memory`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

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
    Packet,
    objects_of,
    text_of,
)

MOST_SYSTEMS, MOST_COMPONENTS = 102, 22
"""Objects of one packet."""
MOST_PARTS = 10_000
"""Components held at once: strangers must not fill the memory."""
MOST_ASKED = 220
"""Components asked for after an absence, those in alarm first."""

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
BITS: tuple[Field, ...] = (
    "fire", "fault", "disabled", "supervisory", "started", "feedback", "delayed", "power_fault",
)  # fmt: skip
"""Status bits from bit 1 on."""
STATES: dict[int, tuple[int, int, int, tuple[Field | Literal[""], ...]]] = {
    SYSTEM: (10, 2, 2, (*BITS, "power_fault", "line_fault", "manual_mode", "", "reset")),
    COMPONENT: (46, 7, 2, BITS),
    DEVICE: (7, 0, 1, ("fire", "fault", "power_fault", "power_fault", "line_fault", "line_fault")),
}
"""By type: bytes of an object with its time, of who it is, of its status; and the status bits."""
OPERATIONS = {OPERATION: (10, 2), DEVICE_OPERATION: (8, 0)}
RESET, MANUAL, CLEARED, ON_DUTY = 1 << 0, 1 << 2, 1 << 3, 1 << 5
ALARMS: frozenset[Field] = frozenset({"fire", "manual_alarm"})
LASTING: frozenset[Field] = frozenset({"disabled", "reset"})
"""What outlives a reset."""


class Reading(msgspec.Struct, frozen=True):
    """What one transmission device holds after a packet."""

    holds: frozenset[Field]
    where: str
    packet: bytes
    memory: bytes


class Part(msgspec.Struct, frozen=True):
    """What one component, system or the device itself holds."""

    holds: frozenset[Field]
    description: str = ""


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """What outlives a restart: the parts, the newest fire last, and the systems ever heard of."""

    parts: list[tuple[bytes, list[Field], str]] = []
    systems: list[bytes] = []


class Panel:
    """Everything behind one transmission device, by who told it: type and identity as sent."""

    def __init__(self, memory: bytes = b"") -> None:
        known = _recall(memory)
        self._parts = {key: Part(frozenset(holds), text) for key, holds, text in known.parts}
        self._systems = dict.fromkeys(known.systems)
        self._last_act: tuple[int, bytes] | None = None

    def take(self, packet: Packet) -> Reading:
        """Take over what a sound packet tells. Objects cut short count if their status is there."""
        kind = packet.data[:1]
        if packet.command in (SEND, ANSWER) and kind:
            if kind[0] in STATES:
                self._states(kind, packet.data)
            elif (
                kind[0] in OPERATIONS
                and packet.command == SEND
                and self._last_act != (packet.sequence, packet.data)
            ):
                # A reset that is sent again must not clear what came after it.
                self._last_act = packet.sequence, packet.data
                self._operations(kind, packet.data)
        holds = frozenset[Field]().union(*(part.holds for part in self._parts.values()))
        return Reading(holds, self._where(), packet.encode(), self._memory())

    def questions(self) -> list[bytes]:
        """The data units that ask for all that is worth knowing after an absence."""
        parts = sorted(self._parts.items(), key=lambda item: not item[1].holds & ALARMS)
        components = [key[1:3] + key[4:] for key, _ in parts if key[0] == COMPONENT][:MOST_ASKED]
        pages = [
            (READ_COMPONENTS, components[start : start + MOST_COMPONENTS])
            for start in range(0, len(components), MOST_COMPONENTS)
        ]
        asked = [(READ_DEVICE, [b"\0"]), (READ_SYSTEMS, list(self._systems)), *pages]
        return [bytes((kind, len(whom))) + b"".join(whom) for kind, whom in asked if whom]

    def _memory(self) -> bytes:
        parts = [(key, sorted(part.holds), part.description) for key, part in self._parts.items()]
        return msgspec.msgpack.encode(Memory(parts, list(self._systems)))

    def _states(self, kind: bytes, data: bytes) -> None:
        size, identity, width, names = STATES[kind[0]]
        for one in objects_of(data, size):
            if len(one) < identity + width:
                break
            status = int.from_bytes(one[identity : identity + width], "little")
            holds = frozenset(name for bit, name in enumerate(names, 1) if name and status >> bit & 1)
            if kind[0] == SYSTEM and "reset" in holds and "reset" not in self._held(kind + one[:identity]):
                self._reset(one[:identity])
            if kind[0] != DEVICE:
                self._note(one[:2])
            text = text_of(one[identity + width : 40]) if kind[0] == COMPONENT else ""
            self._hold(kind + one[:identity], Part(holds, text))

    def _operations(self, kind: bytes, data: bytes) -> None:
        size, identity = OPERATIONS[kind[0]]
        for one in objects_of(data, size):
            if len(one) <= identity:
                break
            system, act = one[:identity], one[identity]
            if system:
                self._note(system)
            if act & RESET:
                self._reset(system)
            if act & CLEARED:
                self._keep(system, lambda holds: holds - ALARMS)
            if act & MANUAL:
                self._hold(kind + system, Part(frozenset({"manual_alarm"})))

    def _note(self, system: bytes) -> None:
        if len(self._systems) < MOST_SYSTEMS:
            self._systems[system] = None

    def _held(self, key: bytes) -> frozenset[Field]:
        return self._parts[key].holds if key in self._parts else frozenset()

    def _reset(self, system: bytes) -> None:
        self._keep(system, lambda holds: holds & LASTING)

    def _keep(self, system: bytes, what: Callable[[frozenset[Field]], frozenset[Field]]) -> None:
        for key, part in list(self._parts.items()):
            if key[1:3] == system:
                self._hold(key, Part(what(part.holds), part.description))

    def _hold(self, key: bytes, part: Part) -> None:
        old = self._parts.get(key)
        if not part.holds or ("fire" in part.holds and (old is None or "fire" not in old.holds)):
            self._parts.pop(key, None)  # The newest fire stands last.
        if not part.holds:
            return
        if key not in self._parts and len(self._parts) >= MOST_PARTS:
            quiet = (key for key, old in self._parts.items() if not old.holds & ALARMS)
            del self._parts[next(quiet, next(iter(self._parts)))]
        self._parts[key] = part

    def _where(self) -> str:
        fires = [key for key, part in self._parts.items() if "fire" in part.holds]
        components = [key for key in fires if key[0] == COMPONENT]
        if not fires:
            return ""
        key = (components or fires)[-1]
        place = "/".join(str(byte) for byte in key[1:4])
        if key[0] == COMPONENT:
            place += "/" + ".".join(str(byte) for byte in key[4:])
        return f"{place} {self._parts[key].description}".strip()


def _recall(memory: bytes) -> Memory:
    try:
        return msgspec.msgpack.decode(memory, type=Memory) if memory else Memory()
    except msgspec.MsgspecError:
        return Memory()  # Of another version: what is told from now on counts.
