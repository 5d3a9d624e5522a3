"""Builds the `View` from a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import GATEWAY_DEVICE, Quality, Record, Role, Sentence, Stamp, Value, uplink_device
from gateway.services.commands import CommandRow, Commands
from gateway.services.presence import DeviceState, Presence, PresenceRow
from gateway.web.part import OwnKind, PartInput
from gateway.web.settings import DeviceInfo, Settings
from gateway.web.snapshot import Snapshot
from gateway.web.view import (
    DeviceCondition,
    DeviceRow,
    DiagnosisRow,
    GatewayState,
    LastCommandRow,
    PointRow,
    Severity,
    StorageStatus,
    UplinkStatus,
    View,
    is_stale,
    wall_ms,
)

from .core import bus_reports
from .parts import Part

_CONDITIONS_BY_SEVERITY = list(DeviceCondition)
_SEVERITIES = list(Severity)


def build_view(parts: Iterable[Part], settings: Settings, snapshot: Snapshot, now: Stamp) -> View:
    """The view of a snapshot, at the time `now`."""
    parts = tuple(parts)
    gateway = _gateway_state(snapshot)
    infos = {info.name: info for info in settings.devices}
    own = {kind: own for part in parts for kind, own in part.own_kinds.items()}
    reports = bus_reports(snapshot.buses, infos)
    diagnoses = [diagnosis for report in reports or () for diagnosis in report.diagnoses]
    zone = ZoneInfo(settings.timezone)
    part_input = PartInput(
        snapshot=snapshot,
        now=now,
        day=datetime.fromtimestamp(now.wall_ms / 1000, zone).date().isoformat(),
        device_infos=infos,
        devices=tuple(
            _device_row(
                info, own.get(info.kind, OwnKind()), snapshot, diagnoses, gateway is GatewayState.AWAY, now
            )
            for info in settings.devices
        ),
    )
    # A part may show the figures of the others, so all figures are computed first.
    figures = {
        name: figure
        for part in parts
        for name, figure in part.figures(settings.parts.get(part.name), part_input).items()
    }
    part_input = msgspec.structs.replace(part_input, figures=figures)
    views = {part.name: part.view(settings.parts.get(part.name), part_input) for part in parts}
    reminders = [each for part in parts for each in part.reminders(views[part.name]) if each.count]
    return View(
        gateway=gateway,
        trouble=snapshot.trouble or (snapshot.health.trouble if snapshot.health else ""),
        refused=snapshot.health.refused if snapshot.health else {},
        known=snapshot.rows is not None,
        title=settings.title,
        day=part_input.day,
        devices=with_annotations(part_input.devices, parts, views),
        uplinks=tuple(
            _uplink(title, part_input.rows(Presence).get(uplink_device(name)), snapshot, name, now)
            for name, title in settings.uplinks.items()
        ),
        storage=_storage(snapshot.samples.get(GATEWAY_DEVICE)),
        reminders=tuple(sorted(reminders, key=attrgetter("order"))),
        parts=views,
        last_word=_last_word(snapshot, now) if gateway is GatewayState.AWAY else None,
    )


def _last_word(snapshot: Snapshot, now: Stamp) -> int | None:
    times = (wall_ms(sample.at, now) for sample in snapshot.samples.values())
    return max(filter(None, times), default=None)


def _gateway_state(snapshot: Snapshot) -> GatewayState:
    if snapshot.rows is None and not snapshot.trouble:
        return GatewayState.WAITING
    if snapshot.health is None:
        return GatewayState.AWAY
    return GatewayState.TROUBLE if snapshot.trouble or snapshot.health.trouble else GatewayState.RUNNING


def with_annotations(
    rows: Iterable[DeviceRow], parts: tuple[Part, ...], views: Mapping[str, object]
) -> tuple[DeviceRow, ...]:
    """The rows with the parts' annotations; sorted by urgency, safety and condition."""
    annotated = []
    for row in rows:
        found = {part.name: part.annotate(views[part.name], row.name) for part in parts}
        added = {name: annotation for name, annotation in found.items() if annotation is not None}
        annotated.append(msgspec.structs.replace(row, annotations=added))
    return tuple(
        sorted(
            annotated,
            key=lambda row: (
                -_SEVERITIES.index(row.severity),
                not row.is_safety_device,
                _CONDITIONS_BY_SEVERITY.index(row.condition),
            ),
        )
    )


def _device_row(
    info: DeviceInfo,
    own_kind: OwnKind,
    snapshot: Snapshot,
    diagnoses: Iterable[DiagnosisRow],
    is_daemon_away: bool,
    now: Stamp,
) -> DeviceRow:
    """While the daemon is `is_daemon_away`, no device is read: every reading is stale."""
    actions = tuple(action for action in info.actions if action not in own_kind.actions)
    row = DeviceRow(
        name=info.name,
        title=info.title,
        kind=info.kind,
        is_safety_device=info.is_safety_device,
        bus=info.bus,
        room=info.room,
        condition=DeviceCondition.NOT_HEARD,
        actions=actions,
        action_roles={action: info.action_roles.get(action, Role.MANAGER) for action in actions},
        order=_last_command(info.name, actions, snapshot.service(Commands.name), now),
        diagnoses=tuple(diagnosis for diagnosis in diagnoses if diagnosis.device == info.name),
    )
    link: PresenceRow | None = snapshot.service(Presence.name).get(info.name)
    sample = snapshot.samples.get(info.name)
    if link is not None and link.state is DeviceState.NOT_HEARD:
        return _unheard_row(row, info, own_kind, link, sample, now)
    lost = link if link is not None and not link.online else None
    if sample is None and lost is None:
        return row
    if sample is None or sample.body["quality"] == Quality.OFFLINE:
        since = lost.since if lost else sample.at if sample else None
        error = sample.body.get("error", "") if sample else lost.error if lost else ""
        return msgspec.structs.replace(
            row,
            condition=DeviceCondition.OFFLINE,
            at=wall_ms(since, now) if since else None,
            error=error,
            reason=_reason(error, sample.body.get("facts") if sample else None),
        )
    at = wall_ms(sample.at, now)
    is_uncertain = sample.body.get("bad") or sample.body.get("arrival")
    condition = DeviceCondition.UNCERTAIN if is_uncertain else DeviceCondition.GOOD
    if is_daemon_away or is_stale(at, info.interval_s, now):
        condition = DeviceCondition.STALE
    values = _point_rows(info, own_kind, sample, snapshot.values.get(info.name, {}), now)
    return msgspec.structs.replace(row, condition=condition, at=at, values=values)


def _reason(error: str, facts: dict[str, Any] | None) -> Sentence | None:
    """The error with its facts, if they were stored."""
    return {"sentence": f"error.{error}", "facts": facts} if facts else None


def _unheard_row(
    row: DeviceRow,
    info: DeviceInfo,
    own_kind: OwnKind,
    link: PresenceRow,
    sample: Record | None,
    now: Stamp,
) -> DeviceRow:
    """A device of which nothing has come since the start: what it said before is shown with its age."""
    last = sample if sample and sample.body["quality"] != Quality.OFFLINE else None
    at = last.at if last else link.last
    values = _point_rows(info, own_kind, last, {}, now) if last else ()
    return msgspec.structs.replace(
        row,
        at=wall_ms(at, now) if at else None,
        values=tuple(
            msgspec.structs.replace(value, earlier=True, at=wall_ms(last.at, now))
            for value in values
            if last and value.value is not None
        ),
    )


def _point_rows(
    info: DeviceInfo,
    own_kind: OwnKind,
    sample: Record,
    earlier: Mapping[str, tuple[Value, Stamp]],
    now: Stamp,
) -> tuple[PointRow, ...]:
    """The points of the latest sample, and earlier values of the points that it does not hold."""
    values: dict[str, Value] = sample.body["values"]
    bad: dict[str, str] = sample.body.get("bad", {})
    rows = []
    for point in dict.fromkeys((*values, *bad, *(p for p in info.units if p in earlier))):
        if own_kind.is_own_point(point):
            continue
        unit = info.units.get(point, "")
        if point in values or point in bad:
            rows.append(PointRow(point, values.get(point), unit))
        else:
            value, at = earlier[point]
            rows.append(PointRow(point, value, unit, earlier=True, at=wall_ms(at, now)))
    return tuple(rows)


def _last_command(
    device: str, actions: Iterable[str], orders: Mapping[str, CommandRow], now: Stamp
) -> LastCommandRow | None:
    own = [order for order in orders.values() if order.device == device and order.action in actions]
    if not own:
        return None
    last = max(own, key=lambda order: order.at.wall_ms)
    return LastCommandRow(last.action, last.status, last.detail, last.by, wall_ms(last.at, now), last.facts)


def _storage(sample: Record | None) -> StorageStatus | None:
    if sample is None or "card_years" not in sample.body["values"]:
        return None
    values = sample.body["values"]
    return StorageStatus(
        values["written_per_day"], values["card_years"], values["records_dropped"], values["dead_letters"]
    )


def _uplink(
    title: Mapping[str, str], link: PresenceRow | None, snapshot: Snapshot, name: str, now: Stamp
) -> UplinkStatus:
    pending = snapshot.pending.get(name) if snapshot.pending is not None else None
    if link is None or link.state is DeviceState.NOT_HEARD:
        return UplinkStatus(title, pending=pending)
    return UplinkStatus(title, link.online, wall_ms(link.since, now), link.error, pending)
