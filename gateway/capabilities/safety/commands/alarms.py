"""`linli alarms`: the alarms that stand; acknowledges or resets one of them in the name of a person."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import getpass
import hashlib
import json
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.base import control
from gateway.config import Site
from gateway.model import GATEWAY_DEVICE, GatewayError
from gateway.terminal.names import unknown_name
from gateway.terminal.order import run_order
from gateway.terminal.printing import cli_text, print_table, single_line_cells
from gateway.terminal.site import add_site_argument, load_running_site
from gateway.words import preferred_language, words

from ..places import place_text
from ..services.alarms import UNACKNOWLEDGED_STATES, Alarm, AlarmMode, AlarmState

ACTIONS = {"ack": "acknowledge", "acknowledge": "acknowledge", "reset": "reset"}
MIN_ID_LENGTH = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line options."""
    add_site_argument(parser)
    parser.add_argument("action", nargs="?", metavar="ack|reset", help=cli_text("alarms-action"))
    parser.add_argument("id", nargs="?", metavar="ID", help=cli_text("alarms-id"))
    parser.add_argument("--by", default=getpass.getuser(), help=cli_text("alarms-by"))
    parser.add_argument("--json", action="store_true")


def run(options: argparse.Namespace) -> int:
    site = load_running_site(options)
    if options.action and options.action not in ACTIONS:
        raise unknown_name("action", options.action, ACTIONS)
    answer = asyncio.run(control.call_daemon(site.control.socket, "alarms"))
    alarms = msgspec.convert(answer["alarms"], list[Alarm])
    ids = short_ids([alarm.id for alarm in alarms])
    if options.action:
        alarm = _find_alarm(alarms, ids, options.id)
        return _deal_with(site, alarm, ACTIONS[options.action], options.by)
    if options.json:
        print(json.dumps(_as_json(alarms, ids), indent=2, ensure_ascii=False))
    else:
        _print_alarms(site, alarms, ids)
    return 0


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """A short id for each alarm id: of the digits of its hash as few as tell it from the others."""
    digests = {each: hashlib.sha256(each.encode()).hexdigest() for each in ids}
    length = MIN_ID_LENGTH
    while len({digest[:length] for digest in digests.values()}) < len(digests):
        length += 1
    return {each: digest[:length] for each, digest in digests.items()}


def _find_alarm(alarms: Sequence[Alarm], ids: dict[str, str], typed: str | None) -> Alarm:
    """By short or full id, or by the device if it has one alarm only. Raises `GatewayError`."""
    if not typed:
        raise GatewayError("alarm-id-missing", known=", ".join(ids.values()) or "–")
    found = [alarm for alarm in alarms if typed.lower() in (ids[alarm.id], alarm.id.lower())]
    found = found or [alarm for alarm in alarms if alarm.device == typed]
    if len(found) > 1:
        raise GatewayError("alarm-several", typed=typed, known=", ".join(ids[each.id] for each in found))
    if not found:
        raise unknown_name("alarm", typed, ids.values())
    return found[0]


def _deal_with(site: Site, alarm: Alarm, action: str, by: str) -> int:
    """Send the command, and say what has become of the alarm."""
    language = preferred_language()
    is_drill = alarm.mode is AlarmMode.DRILL
    if action == "reset" and not is_drill and alarm.state is not AlarmState.LATCHED:
        state = words(language)[f"alarm-state.{alarm.state}"]
        raise GatewayError("alarm-not-resettable", state=state)
    if action == "acknowledge" and alarm.state not in UNACKNOWLEDGED_STATES:
        raise GatewayError("alarm-acknowledged", by=alarm.acknowledged_by or "–")
    device = alarm.device if alarm.device in site.devices else GATEWAY_DEVICE
    facts = {"device": _where(site, alarm), "action": words(language)[f"action.{action}"]}
    return asyncio.run(
        run_order(site.control.socket, device, action, {"alarm": alarm.id}, facts=facts, by=by)
    )


def _print_alarms(site: Site, alarms: Sequence[Alarm], ids: dict[str, str]) -> None:
    shown = [alarm for alarm in alarms if alarm.state is not AlarmState.NORMAL or alarm.mode]
    if not shown:
        print(cli_text("alarms-none"))
        return
    known = words(preferred_language())
    rows = [
        single_line_cells(
            [
                ids[alarm.id],
                known[f"hazard.{alarm.hazard}"],
                _where(site, alarm),
                known[f"mode.{alarm.mode}"] if alarm.mode else known[f"alarm-state.{alarm.state}"],
                _local_time(site, alarm),
                (alarm.mode_by if alarm.mode else alarm.acknowledged_by) or "–",
            ]
        )
        for alarm in shown
    ]
    heads = ("alarms-short", "alarms-hazard", "alarms-where", "alarms-state", "began", "alarms-who")
    print_table([cli_text(head) for head in heads], rows)
    if any(alarm.state in UNACKNOWLEDGED_STATES for alarm in shown):
        print(cli_text("alarms-next"))


def _where(site: Site, alarm: Alarm) -> str:
    """The title of the rule or of the device, the point, and the place behind it."""
    language, device = preferred_language(), site.devices.get(alarm.device)
    title = alarm.title.get(language) or (device.title[language] if device else "")
    name, _, number = alarm.point.partition(".")
    word = words(language).get(f"point.{name}")
    known = f"{word} {number}".rstrip() if word else alarm.point
    point = f"{known} {place_text(language, alarm.place, alarm.where)}".rstrip()
    return f"{title} ({alarm.device}, {point})" if title else f"{alarm.device} ({point})"


def _local_time(site: Site, alarm: Alarm) -> str:
    if not alarm.raised.is_set:
        return "–"
    at = datetime.datetime.fromtimestamp(alarm.raised.wall_ms / 1000, ZoneInfo(site.centre.timezone))
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _as_json(alarms: Sequence[Alarm], ids: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "short": ids[alarm.id],
            "id": alarm.id,
            "device": alarm.device,
            "point": alarm.point,
            "place": alarm.place,
            "where": alarm.where,
            "hazard": alarm.hazard,
            "state": alarm.state,
            "mode": alarm.mode,
            "value": alarm.value,
            "raised": alarm.raised.wall_if_set,
            "acknowledged_by": alarm.acknowledged_by,
        }
        for alarm in alarms
    ]
