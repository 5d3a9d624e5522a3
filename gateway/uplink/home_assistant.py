"""The dialect of Home Assistant: MQTT discovery by device, so that a centre sees all its devices at once.

Source: the documentation of its MQTT integration ("Device discovery payload", "Birth and last will
messages", "Availability"). Each device of the site has one retained configuration with a sensor for each
point, a binary sensor for each alarm and a button for each allowed action; so has the gateway itself,
and each service with its figures. What is retained is the present state: the newest values of a device,
whether it answers, and whether an alarm of a point is not over yet. An older record says nothing of the
present, and counts as delivered without having been sent; so do events. An alarm that has not changed
since the gateway was started is as the broker has retained it.

A device that has left the site is removed: the gateway clears the retained configurations of its own
that are of no device any more. When Home Assistant starts, all is said again.

A button sends the time at which it was pressed: the command is valid for `COMMAND_LIFETIME_MS`, and the
same message again is the same command. Home Assistant cannot sign: actions of consequence need `trust`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway import __version__
from gateway.config.options import HomeAssistantOptions
from gateway.model import (
    GATEWAY_DEVICE,
    Command,
    Device,
    GatewayError,
    Hazard,
    Lane,
    Record,
    Stamp,
    Value,
    decimals_of_scale,
)
from gateway.words import words

from .dialect import Dialect, Incoming, Message, OpeningRequest, Request, group_by_device

ONLINE, OFFLINE = b"online", b"offline"
COMMAND_LIFETIME_MS = 60_000
MAX_COMMAND_BYTES = 256
RESTART_SPREAD_S = 10.0
"""All is said again so soon after Home Assistant has started, at a random moment."""
ALARM_ACTIONS = frozenset({"acknowledge", "mute", "reset"})
"""What services do for any device with alarms, without arguments."""
NORMAL = "normal"
"""The state of an alarm that is over."""

HAZARD_CLASSES = {
    Hazard.FIRE: "smoke", Hazard.GAS: "gas", Hazard.WATER: "moisture", Hazard.TAMPER: "tamper",
    Hazard.SOS: "safety",
}  # fmt: skip
"""The device class of a binary sensor by what its alarm warns of; any other is a `problem`."""
BOOLEAN_CLASSES = {
    "smoke": "smoke", "heat": "heat", "gas": "gas", "water": "moisture", "door": "door", "open": "opening",
    "opening": "opening", "occupied": "occupancy", "tamper": "tamper", "fault": "problem",
    "low_battery": "battery", "charging": "battery_charging", "online": "connectivity", "sos": "safety",
    "connected": "connectivity",
}  # fmt: skip
"""The device class of a binary sensor by the name of its point."""
NUMBER_CLASSES = {
    ("humidity", "%"): "humidity", ("battery", "%"): "battery", ("co2", "ppm"): "carbon_dioxide",
    ("power_factor", ""): "power_factor",
}  # fmt: skip
"""The device class of a sensor by the name and the unit of its point."""
UNIT_CLASSES = {
    "°C": "temperature", "V": "voltage", "A": "current", "mA": "current", "W": "power", "kW": "power",
    "VA": "apparent_power", "kWh": "energy", "Wh": "energy", "Hz": "frequency", "Pa": "pressure",
    "hPa": "pressure", "kPa": "pressure", "bar": "pressure", "m": "distance", "cm": "distance",
    "mm": "distance", "lx": "illuminance", "dBm": "signal_strength", "ms": "duration", "s": "duration",
}  # fmt: skip
"""The device class of any other sensor by the unit of its point."""
RUNNING_TOTALS = frozenset({"in", "out"})
"""Points without a unit that only grow, or start anew."""

_encode = msgspec.json.Encoder().encode


class _Press(msgspec.Struct):
    """What a button sends: when it was pressed, in Unix time in milliseconds."""

    at: int


_decode_press = msgspec.json.Decoder(_Press).decode
PRESS_TEMPLATE = '{"at": {{ (now().timestamp() * 1000) | int }} }'


class _DeviceState:
    """What is known of a device, or a service, or the gateway."""

    def __init__(self) -> None:
        self.values: dict[str, Value | None] = {}
        self.types: dict[str, type] = {}
        """Of the values of each point: bool, float or str."""
        self.alarms: dict[str, tuple[Hazard | str, set[str]]] = {}
        """Of each point, what its alarm warns of, and the places of those that are not over."""
        self.configuration = b""
        """What was said last on this connection."""
        self.is_online: bool | None = None
        """What was said last on this connection."""


class HomeAssistantDialect(Dialect):
    """The messages for Home Assistant, about one site."""

    def __init__(
        self,
        options: HomeAssistantOptions,
        site: str,
        title: str,
        devices: Mapping[str, Device],
        *,
        language: str,
        actions: frozenset[str],
        selects: Callable[[str], bool],
        others: Collection[str],
    ) -> None:
        """`actions`: that it may command. `selects`: whether the telemetry of a device is sent. `others`:
        what else may report values: services and uplinks."""
        self._prefix = options.discovery_prefix
        self._site = site
        self._title = title
        self._devices = devices
        self._language = language
        self._words = words(language)
        self._actions = actions
        self._selects = selects
        self._others = others
        self._root = f"linli-ha/{site}"
        self._states: dict[str, _DeviceState] = {}
        self._latest: Mapping[str, Record] = {}

    @property
    def command_topics(self) -> Sequence[str]:
        return (f"{self._root}/+/command/+",)

    @property
    def reply_topics(self) -> Sequence[str]:
        return f"{self._prefix}/status", f"{self._prefix}/device/+/config"

    def reads_retained(self, topic: str) -> bool:
        return topic.startswith(f"{self._prefix}/")

    def begin_connection(self) -> None:
        for state in self._states.values():
            state.configuration, state.is_online = b"", None

    def status_message(self, online: bool) -> Message:
        return Message(f"{self._root}/status", ONLINE if online else OFFLINE, retain=True)

    def opening_messages(self, latest: Mapping[str, Record]) -> Iterator[Sequence[Message]]:
        self._latest = latest
        names = [GATEWAY_DEVICE, *self._devices]
        names += [name for name in latest if name not in names and self._has(name) and self._selects(name)]
        # Of one that was not heard yet, and is not overdue, nothing is known.
        heard = [latest[name] for name in names if name in latest and self._selects(name)]
        for record in heard:
            self._take(record)
            self._state(record.device).is_online = None
        yield [self._configuration(name) for name in names]
        alarms = [
            self._alarm_state(name, point) for name, state in self._states.items() for point in state.alarms
        ]
        yield [*alarms, *(message for record in heard for message in self._present(record))]

    def group(self, records: Iterable[Record], *, backfill: bool = False) -> Iterator[list[Record]]:
        """Of an alarm only the newest, as those before it say nothing of the present."""
        records = list(records)
        if records and records[0].lane is Lane.ALARM:
            newest = {
                (record.device, record.body.get("point"), record.body.get("place")): record
                for record in records
            }
            yield from ([record] for record in records if record in newest.values())
        else:
            yield from group_by_device(records)

    def records_message(self, records: Sequence[Record], *, backfill: bool = False) -> Message | None:
        record = records[-1]
        if not self._has(record.device):  # It has left the site since.
            return None
        if record.lane is Lane.TELEMETRY:
            return self._state_message(record)
        return self._alarm_message(record) if record.lane is Lane.ALARM else None

    def latest_groups(self, records: Sequence[Record]) -> Iterator[list[Record]]:
        return group_by_device(records)

    def latest_message(self, records: Sequence[Record]) -> Message | None:
        return self.records_message(records)

    def parse(self, topic: str, payload: bytes, at: Stamp) -> Iterator[Incoming]:
        if topic == f"{self._prefix}/status":
            if payload == ONLINE:
                yield OpeningRequest(within_s=RESTART_SPREAD_S)
        elif topic.startswith(f"{self._prefix}/"):
            yield from self._removal(topic, payload)
        else:
            yield Request(self._command(topic, payload, at))

    def _removal(self, topic: str, payload: bytes) -> Iterator[Message]:
        """Of a configuration of this gateway for a device that it no longer has."""
        own = f"{self._prefix}/device/linli_{self._site}_"
        device = topic.removeprefix(own).removesuffix("/config")
        present = map(_slug, (*self._devices, *self._others))
        if payload and topic == f"{own}{device}/config" and device not in present:
            for each in (topic, self._topic(device, "state"), self._topic(device, "availability")):
                yield Message(each, b"", retain=True)

    def _has(self, device: str) -> bool:
        return device in self._devices or device in self._others

    def _command(self, topic: str, payload: bytes, at: Stamp) -> Command:
        """What the press of a button asks for. Raises `GatewayError`."""
        device, _, action = topic.removeprefix(f"{self._root}/").partition("/command/")
        if action not in self._actions_of(device):
            raise GatewayError("button-unknown", device=device[:64], action=action[:64])
        try:
            if len(payload) > MAX_COMMAND_BYTES:
                raise msgspec.DecodeError("too long")
            pressed = _decode_press(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise GatewayError("command-form", reason=error) from error
        digest = hashlib.sha256(topic.encode() + b"\0" + payload).hexdigest()
        return Command(
            id=f"ha-{digest[:40]}",
            at=at,
            device=device,
            action=action,
            expires=max(0, min(pressed.at, 1 << 62)) + COMMAND_LIFETIME_MS,
            origin="upstream",
        )

    def _state_message(self, record: Record) -> Message | None:
        """The present state of a device; None of an older record."""
        device = record.device
        latest = self._latest.get(device)
        if latest is not None and latest.seq > record.seq:
            return None
        self._take(record)
        messages = [*self._new_configuration(device), *self._present(record)]
        return messages[-1]._replace(before=tuple(messages[:-1])) if messages else None

    def _alarm_message(self, record: Record) -> Message | None:
        body = record.body
        point, state = body.get("point"), body.get("state")
        if not (isinstance(point, str) and isinstance(state, str)):
            return None
        _, places = self._state(record.device).alarms.setdefault(point, (body.get("hazard", ""), set()))
        place = str(body.get("place", ""))
        places.discard(place) if state == NORMAL else places.add(place)
        message = self._alarm_state(record.device, point)
        return message._replace(before=tuple(self._new_configuration(record.device)))

    def _alarm_state(self, device: str, point: str) -> Message:
        _, places = self._state(device).alarms[point]
        return Message(self._topic(device, f"alarm/{point}"), b"ON" if places else b"OFF", retain=True)

    def _take(self, record: Record) -> None:
        """The values of a sample; those that were impossible are unknown."""
        if record.body.get("error"):
            return
        state = self._state(record.device)
        state.values |= dict.fromkeys(record.body.get("bad") or {})
        for point, value in (record.body.get("values") or {}).items():
            state.values[point] = value
            shown = bool if isinstance(value, bool) else str if isinstance(value, str) else float
            if state.types.setdefault(point, shown) is not shown:
                state.types[point] = str

    def _present(self, record: Record) -> Iterator[Message]:
        """Whether a device answers, if that is another than was said last, and its values."""
        device, is_online = record.device, not record.body.get("error")
        state = self._state(device)
        if state.is_online is not is_online:
            state.is_online = is_online
            said = ONLINE if is_online else OFFLINE
            yield Message(self._topic(device, "availability"), said, retain=True)
        if is_online and state.values:
            yield Message(self._topic(device, "state"), _encode(state.values), retain=True)

    def _new_configuration(self, device: str) -> Iterator[Message]:
        """The configuration, if it is another than was said last."""
        said = self._state(device).configuration
        message = self._configuration(device)
        if message.payload != said:
            yield message

    def _configuration(self, device: str) -> Message:
        """Device-based discovery: all that Home Assistant shows of a device."""
        own_id = self._id(device)
        available = [f"{self._root}/status"]
        if device != GATEWAY_DEVICE:
            available.append(self._topic(device, "availability"))
        payload = _encode(
            {
                "device": self._device_information(device),
                "origin": {"name": "Linli Gateway", "sw_version": __version__},
                "availability": [{"topic": topic} for topic in available],
                "availability_mode": "all",
                "qos": 1,
                "components": {
                    key: {"unique_id": f"{own_id}_{key}", **component}
                    for key, component in self._components(device)
                },
            }
        )
        self._state(device).configuration = payload
        return Message(f"{self._prefix}/device/{own_id}/config", payload, retain=True)

    def _device_information(self, name: str) -> dict[str, Any]:
        if name == GATEWAY_DEVICE:
            return {
                "identifiers": [self._id(name)], "name": self._title, "manufacturer": "Linli Gateway",
                "sw_version": __version__,
            }  # fmt: skip
        about = {"identifiers": [self._id(name)], "via_device": self._id(GATEWAY_DEVICE)}
        device = self._devices.get(name)
        if device is None:
            return {**about, "name": f"{self._title} {self._words.get(f'service.{name}', name)}"}
        about |= {"name": device.title.get(self._language, name), "model": device.profile}
        if device.serial:
            about["serial_number"] = device.serial
        if room := device.room.get(self._language):
            about["suggested_area"] = room
        return about

    def _components(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The entities of a device, each with its key."""
        device, state = self._devices.get(name), self._state(name)
        points = device.points if device else {}
        for point in dict.fromkeys((*points, *state.types)):
            yield _key(point), {**self._point_component(name, point), "name": self._point_name(point)}
        # An alarm stands, and can be acknowledged, though its device does not answer any more.
        while_connected = [{"topic": f"{self._root}/status"}]
        alarms = {point: spec.alarm.hazard for point, spec in points.items() if spec.alarm}
        alarms |= {point: hazard for point, (hazard, _) in state.alarms.items()}
        for point, hazard in alarms.items():
            word = self._words.get(f"hazard.{hazard}", str(hazard))
            yield f"alarm_{_key(point)}", {
                "platform": "binary_sensor", "state_topic": self._topic(name, f"alarm/{point}"),
                "device_class": HAZARD_CLASSES.get(hazard, "problem"), "availability": while_connected,
                "name": f"{word} ({self._point_name(point)})",
            }  # fmt: skip
        for action in self._actions_of(name):
            yield f"do_{_key(action)}", {
                "platform": "button", "command_topic": self._topic(name, f"command/{action}"),
                "command_template": PRESS_TEMPLATE, "name": self._words.get(f"action.{action}", action),
                **({"availability": while_connected} if action in ALARM_ACTIONS else {}),
            }  # fmt: skip
        if name == GATEWAY_DEVICE:
            yield "connection", {
                "platform": "binary_sensor", "state_topic": f"{self._root}/status",
                "device_class": "connectivity", "payload_on": "online", "payload_off": "offline",
                "entity_category": "diagnostic", "availability": [], "name": self._point_name("online"),
            }  # fmt: skip

    def _point_component(self, name: str, point: str) -> dict[str, Any]:
        """A binary sensor, or a sensor with what is known of its unit and kind."""
        device = self._devices.get(name)
        spec = device.points.get(point) if device else None
        shown = self._state(name).types.get(point)
        stem = point.partition(".")[0]
        found: dict[str, Any] = {"state_topic": self._topic(name, "state")}
        value = f"value_json.get('{point}')"
        if shown is bool or (shown is None and spec is not None and spec.is_boolean):
            found |= {"platform": "binary_sensor", "device_class": BOOLEAN_CLASSES.get(stem)}
            found["value_template"] = f"{{{{ {{true: 'ON', false: 'OFF'}}.get({value}) }}}}"
            return {key: each for key, each in found.items() if each is not None}
        found |= {"platform": "sensor", "value_template": f"{{{{ {value} }}}}"}
        unit = spec.unit if spec else ""
        if shown is not float and not (shown is None and unit):
            return found
        device_class = NUMBER_CLASSES.get((stem, unit)) or UNIT_CLASSES.get(unit)
        is_total = device_class == "energy" or (stem in RUNNING_TOTALS and not unit)
        found["state_class"] = "total_increasing" if is_total else "measurement"
        if unit:
            found["unit_of_measurement"] = unit
        if device_class:
            found["device_class"] = device_class
        if spec:
            decimals = decimals_of_scale(spec.scale) if spec.decimals is None else spec.decimals
            found["suggested_display_precision"] = decimals
        return found

    def _actions_of(self, name: str) -> list[str]:
        """The actions that need no arguments, of those that it may command."""
        device = self._devices.get(name)
        if device is None:
            return []
        offered = {*device.actions, *(ALARM_ACTIONS if device.is_safety_device else ())}
        return sorted(offered & self._actions)

    def _point_name(self, point: str) -> str:
        stem, _, number = point.partition(".")
        return f"{self._words.get(f'point.{stem}', stem)} {number}".strip()

    def _state(self, device: str) -> _DeviceState:
        return self._states.setdefault(device, _DeviceState())

    def _id(self, device: str) -> str:
        return f"linli_{self._site}_{_slug(device)}"

    def _topic(self, device: str, what: str) -> str:
        return f"{self._root}/{device}/{what}"


def _slug(name: str) -> str:
    return name.replace(".", "-")


def _key(name: str) -> str:
    return name.replace(".", "_")
