"""Needs (诉求) of residents, from registered to closed, without personal data.

Commands and facts go upstream and into an append-only journal: they contain numbers, names from the site
file and names of staff. What a resident typed is stored elsewhere, sealed, and can be destroyed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.model import (
    GATEWAY_DEVICE,
    Command,
    Fact,
    Lane,
    Message,
    RowChanges,
    Rows,
    Service,
    Stamp,
    Tick,
    Value,
)

DAY_S = 86_400.0
MAX_DEFERRAL_MS = 366 * 86_400_000
"""The furthest into the future that a due date may be set."""
RECEIPT_NUMBER = re.compile(r"[1-9]\d{7}")
"""Short enough to be read out, with enough digits not to be guessed."""
REQUEST_ID = re.compile(r"[\w-]{0,64}", re.ASCII)
MAX_STEPS = 100
"""Only the newest steps of a need are listed; the facts contain all."""
MAX_NEEDS = 10_000
"""Beyond that a new need replaces the oldest ended one whose particulars have been destroyed."""
MIN_UPTIME_NS = 3600e9
"""Only after that uptime expired particulars are erased: a clock can be years wrong until the network has
set it."""

Titles = Mapping[str, Mapping[str, str]]
"""Titles by name and language."""


class NeedState(StrEnum):
    """The state of a need."""

    REGISTERED = "registered"
    ACCEPTED = "accepted"
    """Handled by the centre's staff."""
    REFERRED = "referred"
    """Handled by another organisation (转介)."""
    DONE = "done"
    CLOSED = "closed"
    """The resident has been informed of the outcome."""
    WITHDRAWN = "withdrawn"


OPEN_STATES = frozenset({NeedState.REGISTERED, NeedState.ACCEPTED, NeedState.REFERRED})
"""States in which action is still due."""
CHANNELS = ("kiosk", "phone", "desk")
OUTCOMES = ("met", "partly", "unmet")

_STATE_CHANGES: Mapping[str, tuple[frozenset[NeedState], NeedState]] = {
    "need-accept": (OPEN_STATES, NeedState.ACCEPTED),
    "need-refer": (OPEN_STATES, NeedState.REFERRED),
    "need-done": (OPEN_STATES, NeedState.DONE),
    "need-close": (OPEN_STATES | {NeedState.DONE}, NeedState.CLOSED),
    "need-withdraw": (OPEN_STATES | {NeedState.DONE}, NeedState.WITHDRAWN),
    "need-reopen": (frozenset(NeedState) - OPEN_STATES, NeedState.ACCEPTED),
}
"""For each command the states in which it is allowed, and the state to which it leads."""
_ACTIONS_WITHOUT_STATE_CHANGE = frozenset(
    {"need-change", "need-note", "need-correct", "need-look", "need-erase"}
)


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """A category of needs: the days until it is due, and its default owner and referral."""

    title: Mapping[str, str]
    days: float
    owner: str = ""
    referral: str = ""


class Reception(msgspec.Struct, frozen=True, kw_only=True):
    """`[needs]`, checked, without the location of the particulars."""

    categories: Mapping[str, Category]
    owners: Titles = {}
    referrals: Titles = {}
    keep_days: float = 180.0
    """Days from the end of a need to the destruction of its particulars."""
    reopen_days: float = 14.0
    most_open: int = 500
    phone_per_hour: int = 30
    """Needs that all phones together may register in an hour."""
    address: str = ""
    """The address of the form for phones, such as `http://192.168.1.10:8080`."""


class NeedStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step in the handling of a need: `what` is the name of its command without `need-`, `detail` the
    owner, the referral, the outcome or the reason."""

    what: str
    at: Stamp
    by: str = ""
    detail: str = ""


class Need(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One need; its key is the number on its receipt."""

    category: str
    channel: str
    state: NeedState
    created: Stamp
    due: int
    """Unix time in milliseconds."""
    owner: str = ""
    referral: str = ""
    outcome: str = ""
    satisfaction: int = 0
    """1 to 5; 0: not rated."""
    ended: Stamp | None = None
    """When it was first done, closed or withdrawn since it was last opened."""
    overdue: bool = False
    referred: bool = False
    """Whether it was ever referred."""
    sealed: bool = False
    """Whether its particulars are stored."""
    once: str = ""
    """The id of the form that registered it, so that a double click does not register twice."""
    steps: tuple[NeedStep, ...] = ()


class Needs(Service):
    """Tracks the state of each need, when it becomes overdue, and when its particulars must be
    destroyed."""

    name = "needs"
    row = Need
    actions = frozenset({"need-register", *_STATE_CHANGES, *_ACTIONS_WITHOUT_STATE_CHANGE})

    def __init__(self, reception: Reception | None = None) -> None:
        self._reception = reception

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, Tick):
            return self._process_tick(rows, message)
        if not isinstance(message, Command) or message.action not in self.actions:
            return {}, []
        if self.objection(rows, message):
            return {}, []
        key = str(message.args["id"])
        if message.action == "need-register":
            return self._register(rows, key, message)
        row, detail = self._execute(rows[key], message)
        what = message.action.removeprefix("need-")
        row = _with_step(
            row, NeedStep(what=what, at=message.at, by=message.by or message.origin, detail=detail)
        )
        return {key: row}, [_fact(_FACT_KINDS[message.action], key, row, message.at, by=message.by)]

    def objection(self, rows: Rows, command: Command) -> str:
        """Why a command is not allowed, as the key of an error; empty if it is."""
        if self._reception is None:
            return "needs-off"
        if command.action == "need-register":
            return _objection_to_new(self._reception, rows, command.args)
        row: Need | None = rows.get(str(command.args.get("id")))
        if row is None:
            return "need-unknown"
        return _objection_to_move(self._reception, row, command) or _objection_to_args(
            self._reception, row, command
        )

    def summary(self, rows: Rows) -> dict[str, Value]:
        if self._reception is None:
            return {}
        owed = [row for row in rows.values() if row.state in OPEN_STATES]
        return {
            "open": len(owed),
            "new": sum(row.state is NeedState.REGISTERED for row in owed),
            "overdue": sum(row.overdue for row in owed),
        }

    def _register(self, rows: Rows, key: str, command: Command) -> tuple[RowChanges, list[Fact]]:
        assert self._reception
        args, at = command.args, command.at
        category = str(args["category"])
        need = Need(
            category=category,
            channel=str(args["channel"]),
            state=NeedState.REGISTERED,
            created=at,
            due=self._due(category, at),
            sealed=args.get("sealed") is True,
            once=str(args.get("once", "")),
        )
        changes: RowChanges = {key: need}
        if len(rows) >= MAX_NEEDS:
            over = [(row.ended.wall_ms, old) for old, row in rows.items() if row.ended and not row.sealed]
            changes |= {old: None for _, old in sorted(over)[:1]}
        return changes, [_fact("need-registered", key, need, at, by=command.by)]

    def _execute(self, row: Need, command: Command) -> tuple[Need, str]:
        """The need after an allowed command, and the detail of the step."""
        assert self._reception
        args, at, action = command.args, command.at, command.action
        category = self._reception.categories.get(row.category)
        change: dict[str, Any] = {}
        detail = ""
        if action in _STATE_CHANGES:
            to = _STATE_CHANGES[action][1]
            change = {"state": to, "ended": None if to in OPEN_STATES else row.ended or at}
        if action == "need-accept":
            detail = _resolve_owner(args, row, category)
            change |= {"owner": detail}
        elif action == "need-refer":
            detail = _resolve_referral(args, category)
            change |= {"referral": detail, "referred": True}
        elif action == "need-close":
            detail = str(args["outcome"])
            change |= {"outcome": detail, "satisfaction": args.get("satisfaction", 0)}
        elif action == "need-reopen":
            due = self._due(row.category, at)
            change |= {"outcome": "", "satisfaction": 0, "due": due, "overdue": False}
        elif action == "need-change":
            change = {name: args[name] for name in ("owner", "category", "due") if name in args}
            detail = ", ".join(change)
        elif action == "need-erase":
            detail = "request"
            row = _without_particulars(row, at)
        return msgspec.structs.replace(row, **change), detail

    def _process_tick(self, rows: Rows, tick: Tick) -> tuple[RowChanges, list[Fact]]:
        at = tick.at
        may_erase = tick.clock_is_steady and at.mono_ns >= MIN_UPTIME_NS
        changes: RowChanges = {}
        facts: list[Fact] = []
        if self._reception is None or not at.is_set:
            return changes, facts
        retention_s = self._reception.keep_days * DAY_S
        for key, row in rows.items():
            if row.state in OPEN_STATES:
                if (is_overdue := at.wall_ms >= row.due) != row.overdue:
                    changes[key] = turned = msgspec.structs.replace(row, overdue=is_overdue)
                    facts += [_fact("need-overdue", key, turned, at)] if is_overdue else []
            elif row.sealed and may_erase and _seconds_since_end(row, at) >= retention_s:
                step = NeedStep(what="erase", at=at, detail="retention")
                changes[key] = erased = _with_step(_without_particulars(row, at), step)
                facts.append(_fact("need-erased", key, erased, at))
        return changes, facts

    def _due(self, category: str, at: Stamp) -> int:
        assert self._reception
        known = self._reception.categories.get(category)
        return at.wall_ms + round((known.days if known else 7) * DAY_S * 1000)


def _objection_to_new(reception: Reception, rows: Rows, args: Mapping[str, Any]) -> str:
    key = str(args.get("id"))
    if not RECEIPT_NUMBER.fullmatch(key) or key in rows:
        return "need-number"
    if not REQUEST_ID.fullmatch(str(args.get("once", ""))):
        return "need-once"
    if args.get("category") not in reception.categories:
        return "need-category"
    if args.get("channel") not in CHANNELS:
        return "need-channel"
    full = sum(row.state in OPEN_STATES for row in rows.values()) >= reception.most_open
    return "needs-full" if full else ""


def _objection_to_move(reception: Reception, row: Need, command: Command) -> str:
    """Why a command is not allowed in the current state of the need."""
    action = command.action
    if action in _STATE_CHANGES and row.state not in _STATE_CHANGES[action][0]:
        return "need-state"
    if action in (_ACTIONS_WITHOUT_STATE_CHANGE | {"need-reopen"}) - {"need-change"} and not row.sealed:
        return "need-erased"
    if action == "need-reopen" and _seconds_since_end(row, command.at) > reception.reopen_days * DAY_S:
        return "need-reopen-late"
    return ""


def _objection_to_args(reception: Reception, row: Need, command: Command) -> str:
    """Which argument of a command is invalid, besides the need's number."""
    args, action = command.args, command.action
    category = reception.categories.get(str(args.get("category", row.category)))
    owner = _resolve_owner(args, row, category) if action == "need-accept" else args.get("owner", "")
    due, stars = args.get("due", row.due), args.get("satisfaction", 0)
    conditions = {
        "need-category": "category" not in args or category,
        "need-owner": owner in reception.owners or (action != "need-accept" and not owner),
        "need-referral": action != "need-refer" or _resolve_referral(args, category) in reception.referrals,
        "need-outcome": action != "need-close"
        or (args.get("outcome") in OUTCOMES and type(stars) is int and 0 <= stars <= 5),
        "need-due": "due" not in args
        or (type(due) is int and row.created.wall_ms <= due <= command.at.wall_ms + MAX_DEFERRAL_MS),
    }
    return next((key for key, holds in conditions.items() if not holds), "")


_FACT_KINDS = {
    "need-accept": "need-accepted",
    "need-refer": "need-referred",
    "need-done": "need-done",
    "need-close": "need-closed",
    "need-withdraw": "need-withdrawn",
    "need-reopen": "need-reopened",
    "need-change": "need-changed",
    "need-note": "need-noted",
    "need-correct": "need-corrected",
    "need-look": "need-looked",
    "need-erase": "need-erased",
}
"""The kind of the fact that each command publishes."""


def _resolve_owner(args: Mapping[str, Any], row: Need, category: Category | None) -> str:
    """The owner named in the command, else the current one, else the category's default."""
    return str(args.get("owner") or row.owner or (category.owner if category else ""))


def _resolve_referral(args: Mapping[str, Any], category: Category | None) -> str:
    """The referral named in the command, else the category's default."""
    return str(args.get("to") or (category.referral if category else ""))


def _seconds_since_end(row: Need, at: Stamp) -> float:
    """Seconds since the need ended; 0 if it is open."""
    return at.seconds_since(row.ended, if_unknown=0.0) if row.ended else 0.0


def _without_particulars(row: Need, at: Stamp) -> Need:
    """The need without particulars; an open one is withdrawn, as it can no longer be handled."""
    if row.state in OPEN_STATES:
        return msgspec.structs.replace(row, sealed=False, state=NeedState.WITHDRAWN, ended=at)
    return msgspec.structs.replace(row, sealed=False)


def _with_step(row: Need, step: NeedStep) -> Need:
    return msgspec.structs.replace(row, steps=(*row.steps, step)[-MAX_STEPS:])


def _fact(kind: str, key: str, row: Need, at: Stamp, **more: Any) -> Fact:
    seconds = row.ended.seconds_since(row.created) if row.ended else None
    body = {
        "id": key,
        "category": row.category,
        "channel": row.channel,
        "state": row.state,
        "created": row.created.wall_ms,
        "due": row.due,
        "owner": row.owner,
        "referral": row.referral,
        "outcome": row.outcome,
        "satisfaction": row.satisfaction,
        "seconds": None if seconds is None else round(seconds),
        "overdue": row.overdue,
        **more,
    }
    return Fact(Lane.EVENT, GATEWAY_DEVICE, kind, at, body, durable=True)
