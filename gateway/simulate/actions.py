"""All actions on the simulated centre: one table, for the HTTP console and for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .devices import UNITS
from .language import in_language
from .world import World


class ActionRefused(Exception):
    """An action that cannot be performed; the reason in Chinese and English."""

    def __init__(self, zh: str, en: str, status: int = 400) -> None:
        super().__init__(en)
        self.zh, self.en, self.status = zh, en, status


@dataclass(frozen=True)
class Parameter:
    """A parameter of an action: how it is parsed (`ValueError` if invalid), and which values are
    allowed."""

    parse: Callable[[str], Any]
    expects: str
    optional: bool = False


def number_parameter(low: float, high: float, *, whole: bool = False, optional: bool = False) -> Parameter:
    """A number in this range."""

    def parse(text: str) -> float:
        value = int(text) if whole else float(text)
        if not low <= value <= high:  # not a number fails here too
            raise ValueError(text)
        return value

    return Parameter(parse, f"{low:g} … {high:g}", optional)


def choice_parameter(values: Mapping[str, Any]) -> Parameter:
    """One of these words."""

    def parse(text: str) -> Any:
        try:
            return values[text.lower()]
        except KeyError:
            raise ValueError(text) from None

    return Parameter(parse, " | ".join(values))


ON_OFF_PARAMETER = choice_parameter(
    {"1": True, "0": False, "on": True, "off": False, "true": True, "false": False}
)
DOOR_PARAMETER = number_parameter(1, 2, whole=True)
BAY_PARAMETER = number_parameter(1, 8, whole=True)
LOCK_PARAMETER = number_parameter(0, 15, whole=True, optional=True)
DETECTOR_PARAMETER = number_parameter(1, 3, whole=True)
UNIT_PARAMETER = number_parameter(0, 247, whole=True, optional=True)
STATUS_PARAMETER = choice_parameter({"normal": 0, "alarm": 1, "fault": 2, "test": 3})


def wire_parameter(*names: str) -> Parameter:
    """The name of a wire."""
    return choice_parameter({name: name for name in names})


def _selected_units(wire: str, unit: int | None) -> list[tuple[str, int]]:
    """This unit of the wire, or all units."""
    if unit is None:
        return [(wire, each) for each in UNITS[wire]]
    if unit not in UNITS[wire]:
        known = ", ".join(map(str, UNITS[wire]))
        raise ActionRefused(
            f"{wire} 上没有单元 {unit}；可选：{known}。",
            f"{wire} has no unit {unit}; it has {known}.",
        )
    return [(wire, unit)]


def _move_visitors(world: World, door: int, direction: str, n: int = 1) -> None:
    centre = world.centre()
    if direction == "out" and n > centre.inside:
        raise ActionRefused(f"馆内只有 {centre.inside} 人。", f"Only {centre.inside} people are inside.")
    for _ in range(n):
        centre.add_visitor(door) if direction == "in" else centre.remove_visitor(door)


def _deliver_parcel(world: World, lock: int | None = None) -> dict[str, int]:
    centre = world.centre()
    if lock is None:
        if not centre.free_lockers:
            raise ActionRefused("没有空格口。", "No locker is free.")
        lock = centre.free_lockers[0]
    if not centre.deliver(lock):
        raise ActionRefused(
            f"{lock} 号格口正被占用或门未关。", f"Locker {lock} is occupied or its door is open."
        )
    return {"lock": lock}


def _set_button(button: str) -> Callable[..., None]:
    def set_button(world: World, on: bool) -> None:
        setattr(world.centre(), button, on)

    return set_button


def _set_door_blocked(world: World, door: int, on: bool) -> None:
    world.centre().doors[door].blocked = on


def _set_dead(world: World, wire: str, on: bool, unit: int | None = None) -> None:
    world.faults.set_dead(_selected_units(wire, unit), on=on)


def _set_delay(world: World, wire: str, ms: float, unit: int | None = None) -> None:
    world.faults.set_delay(_selected_units(wire, unit), ms / 1000)


def _set_noise(world: World, wire: str, on: bool, seconds: float = math.inf) -> None:
    world.faults.set_noise(wire, seconds if on else 0.0)


def _clear_everything(world: World) -> None:
    world.centre().clear_hazards()
    world.faults.clear()


@dataclass(frozen=True)
class Action:
    """An action. `perform` raises `ActionRefused`, and returns the parameters that it chose itself."""

    perform: Callable[..., dict[str, int] | None]
    parameters: Mapping[str, Parameter]
    """In the order of the words on the terminal."""


ACTIONS = {
    "smoke": Action(
        lambda world, unit, on: world.centre().set_detector_status(unit, int(on)),
        {"unit": DETECTOR_PARAMETER, "on": ON_OFF_PARAMETER},
    ),
    "detector": Action(
        lambda world, unit, status: world.centre().set_detector_status(unit, status),
        {"unit": DETECTOR_PARAMETER, "status": STATUS_PARAMETER},
    ),
    "gas": Action(
        lambda world, lel: world.centre().force_reading("gas", lel), {"lel": number_parameter(0, 100)}
    ),
    "leak": Action(lambda world, on: world.centre().set_gas_leak(on=on), {"on": ON_OFF_PARAMETER}),
    "residual": Action(
        lambda world, ma: world.centre().force_reading("residual", ma),
        {"ma": number_parameter(0, 65535, whole=True)},
    ),
    "call-point": Action(_set_button("call_point"), {"on": ON_OFF_PARAMETER}),
    "sos": Action(_set_button("sos"), {"on": ON_OFF_PARAMETER}),
    "fridge": Action(
        lambda world, temperature: world.centre().force_reading("fridge", temperature),
        {"temperature": number_parameter(-40, 60)},
    ),
    "visitor": Action(
        _move_visitors,
        {
            "door": DOOR_PARAMETER,
            "direction": choice_parameter({"in": "in", "out": "out"}),
            "n": number_parameter(1, 500, whole=True, optional=True),
        },
    ),
    "blocked": Action(_set_door_blocked, {"door": DOOR_PARAMETER, "on": ON_OFF_PARAMETER}),
    "bay": Action(
        lambda world, bay, occupied: world.centre().set_bay(bay, occupied=occupied),
        {"bay": BAY_PARAMETER, "occupied": ON_OFF_PARAMETER},
    ),
    "parcel": Action(_deliver_parcel, {"lock": LOCK_PARAMETER}),
    "dead": Action(
        _set_dead, {"wire": wire_parameter(*UNITS), "on": ON_OFF_PARAMETER, "unit": UNIT_PARAMETER}
    ),
    "slow": Action(
        _set_delay,
        {
            "wire": wire_parameter("tcp", "rtu", "cu16"),
            "ms": number_parameter(0, 60_000),
            "unit": UNIT_PARAMETER,
        },
    ),
    "garbage": Action(
        _set_noise,
        {
            "wire": wire_parameter("rtu", "cu16"),
            "on": ON_OFF_PARAMETER,
            "seconds": number_parameter(0, 3600, optional=True),
        },
    ),
    "clear": Action(_clear_everything, {}),
}


def perform(world: World, name: str, arguments_text: Mapping[str, str]) -> dict[str, Any]:
    """Perform an action; returns its name and parameters. Raises `ActionRefused`."""
    action = ACTIONS.get(name)
    if action is None:
        known = ", ".join(ACTIONS)
        raise ActionRefused(
            f"没有“{name}”这个操作；可选：{known}。", f"No action {name!r}; try {known}.", 404
        )
    if unknown := ", ".join(sorted(set(arguments_text) - set(action.parameters))):
        raise ActionRefused(f"{name} 没有参数 {unknown}。", f"{name} takes no parameter {unknown}.")
    arguments = {}
    for key, parameter in action.parameters.items():
        if key not in arguments_text:
            if parameter.optional:
                continue
            raise ActionRefused(
                f"{name} 缺少参数 {key}（{parameter.expects}）。",
                f"{name} needs {key} ({parameter.expects}).",
            )
        try:
            arguments[key] = parameter.parse(arguments_text[key])
        except ValueError:
            raise ActionRefused(
                f"{key} 不能是“{arguments_text[key]}”，应为 {parameter.expects}。",
                f"{key} cannot be {arguments_text[key]!r}; it is {parameter.expects}.",
            ) from None
    chosen = action.perform(world, **arguments) or {}
    return {"action": name, **arguments, **chosen}


def perform_text(world: World, line: str) -> str:
    """Perform the action typed on the terminal; returns the text to print."""
    name, *words = line.split() or [""]
    action = ACTIONS.get(name)
    keys = list(action.parameters) if action else []
    if action and len(words) > len(keys):
        return " ".join([name, *keys])
    try:
        return json.dumps(perform(world, name, dict(zip(keys, words, strict=False))))
    except ActionRefused as refusal:
        return in_language(refusal.zh, refusal.en)
