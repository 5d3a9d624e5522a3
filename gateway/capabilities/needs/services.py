"""Needs (诉求) of residents, from registered to closed, without a word of what they said.

Commands and facts go upstream and into an append-only journal: they hold numbers, names out of the
site's file and those of the staff. What a person typed is kept elsewhere, sealed, and can be destroyed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.model import (
    GATEWAY,
    Changes,
    Command,
    Fact,
    Lane,
    Message,
    Rows,
    Service,
    Stamp,
    Tick,
    Value,
)

DAY = 86_400.0
YEAR = 366 * 86_400_000
"""Milliseconds, the furthest that a need may be put off."""
NUMBER = re.compile(r"[1-9]\d{7}")
"""A receipt: short enough to be said, too many to be guessed."""
ONCE = re.compile(r"[\w-]{0,64}", re.ASCII)
STEPS = 100
"""Steps of a need that are listed; facts tell of all."""
MOST = 10_000
"""Needs that are listed; for a new one beyond, the oldest that is over and destroyed is left out."""
SETTLED = 3600e9
"""Nanoseconds that a machine has run before its calendar may end what is kept: until the network has set
it, a clock can be years wrong."""

Titles = Mapping[str, Mapping[str, str]]
"""What people call things, by name and language."""


class State(StrEnum):
    """How far a need has come."""

    REGISTERED = "registered"
    ACCEPTED = "accepted"
    """Somebody here sees to it."""
    REFERRED = "referred"
    """Somebody elsewhere does (转介)."""
    DONE = "done"
    CLOSED = "closed"
    """The resident knows how it ended."""
    WITHDRAWN = "withdrawn"


OPEN = frozenset({State.REGISTERED, State.ACCEPTED, State.REFERRED})
"""Something is owed."""
CHANNELS = ("kiosk", "phone", "desk")
OUTCOMES = ("met", "partly", "unmet")

_MOVES: Mapping[str, tuple[frozenset[State], State]] = {
    "need-accept": (OPEN, State.ACCEPTED),
    "need-refer": (OPEN, State.REFERRED),
    "need-done": (OPEN, State.DONE),
    "need-close": (OPEN | {State.DONE}, State.CLOSED),
    "need-withdraw": (OPEN | {State.DONE}, State.WITHDRAWN),
    "need-reopen": (frozenset(State) - OPEN, State.ACCEPTED),
}
"""From which states each command leads to which."""
_MARKS = frozenset({"need-change", "need-note", "need-correct", "need-look", "need-erase"})
"""What leaves the state as it is."""


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of need: the days it may take, who sees to it and to whom it is referred, unless somebody
    says otherwise."""

    title: Mapping[str, str]
    days: float
    owner: str = ""
    referral: str = ""


class Reception(msgspec.Struct, frozen=True, kw_only=True):
    """`[needs]`, checked, but for where the particulars lie."""

    categories: Mapping[str, Category]
    owners: Titles = {}
    referrals: Titles = {}
    keep_days: float = 180.0
    """From the end of a need to the destruction of its particulars."""
    reopen_days: float = 14.0
    most_open: int = 500
    phone_per_hour: int = 30
    """Needs that all phones together may register."""
    address: str = ""
    """Where phones reach the form, such as `http://192.168.1.10:8080`."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that was done about a need: the name of its command without `need-`. `detail` is the
    owner, the referral, the outcome or the reason."""

    what: str
    at: Stamp
    by: str = ""
    detail: str = ""


class Need(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One need; its key is the number on its receipt."""

    category: str
    channel: str
    state: State
    created: Stamp
    due: int
    """Unix time in milliseconds."""
    owner: str = ""
    referral: str = ""
    outcome: str = ""
    satisfaction: int = 0
    """1 to 5; 0: nobody said."""
    ended: Stamp | None = None
    """When it was done, closed or withdrawn; the first of these since it was last opened."""
    overdue: bool = False
    referred: bool = False
    """Whether it was ever referred."""
    sealed: bool = False
    """Whether its particulars are kept."""
    once: str = ""
    """What the form that registered it was told by, so that a second click is no second need."""
    steps: tuple[Step, ...] = ()


class Needs(Service):
    """Keeps where each need stands, and tells when it is overdue and when its particulars must go."""

    name = "needs"
    row = Need
    actions = frozenset({"need-register", *_MOVES, *_MARKS})

    def __init__(self, reception: Reception | None = None) -> None:
        self._reception = reception

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Tick):
            return self._pass_time(rows, message.at)
        if not isinstance(message, Command) or message.action not in self.actions:
            return {}, []
        if self.objection(rows, message):
            return {}, []
        key = str(message.args["id"])
        if message.action == "need-register":
            return self._register(rows, key, message)
        row, detail = self._moved(rows[key], message)
        what = message.action.removeprefix("need-")
        row = _noted(row, Step(what=what, at=message.at, by=message.by or message.origin, detail=detail))
        return {key: row}, [_fact(_KINDS[message.action], key, row, message.at, by=message.by)]

    def objection(self, rows: Rows, command: Command) -> str:
        """Why a command cannot be carried out, as the key of an error; empty when it can."""
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
        owed = [row for row in rows.values() if row.state in OPEN]
        return {
            "open": len(owed),
            "new": sum(row.state is State.REGISTERED for row in owed),
            "overdue": sum(row.overdue for row in owed),
        }

    def _register(self, rows: Rows, key: str, command: Command) -> tuple[Changes, list[Fact]]:
        assert self._reception
        args, at = command.args, command.at
        category = str(args["category"])
        need = Need(
            category=category,
            channel=str(args["channel"]),
            state=State.REGISTERED,
            created=at,
            due=self._due(category, at),
            sealed=args.get("sealed") is True,
            once=str(args.get("once", "")),
        )
        changes: Changes = {key: need}
        if len(rows) >= MOST:
            over = [(row.ended.wall, old) for old, row in rows.items() if row.ended and not row.sealed]
            changes |= {old: None for _, old in sorted(over)[:1]}
        return changes, [_fact("need-registered", key, need, at, by=command.by)]

    def _moved(self, row: Need, command: Command) -> tuple[Need, str]:
        """The need after a command that nothing speaks against, and the detail of the step."""
        assert self._reception
        args, at, action = command.args, command.at, command.action
        category = self._reception.categories.get(row.category)
        change: dict[str, Any] = {}
        detail = ""
        if action in _MOVES:
            to = _MOVES[action][1]
            change = {"state": to, "ended": None if to in OPEN else row.ended or at}
        if action == "need-accept":
            detail = _owner(args, row, category)
            change |= {"owner": detail}
        elif action == "need-refer":
            detail = _referral(args, category)
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
            row = _erased(row, at)
        return msgspec.structs.replace(row, **change), detail

    def _pass_time(self, rows: Rows, at: Stamp) -> tuple[Changes, list[Fact]]:
        changes: Changes = {}
        facts: list[Fact] = []
        if self._reception is None or not at.is_set:
            return changes, facts
        keep = self._reception.keep_days * DAY
        for key, row in rows.items():
            if row.state in OPEN:
                if (late := at.wall >= row.due) != row.overdue:
                    changes[key] = turned = msgspec.structs.replace(row, overdue=late)
                    facts += [_fact("need-overdue", key, turned, at)] if late else []
            elif row.sealed and at.mono >= SETTLED and _age(row, at) >= keep:
                step = Step(what="erase", at=at, detail="retention")
                changes[key] = erased = _noted(_erased(row, at), step)
                facts.append(_fact("need-erased", key, erased, at))
        return changes, facts

    def _due(self, category: str, at: Stamp) -> int:
        assert self._reception
        known = self._reception.categories.get(category)
        return at.wall + round((known.days if known else 7) * DAY * 1000)


def _objection_to_new(reception: Reception, rows: Rows, args: Mapping[str, Any]) -> str:
    key = str(args.get("id"))
    if not NUMBER.fullmatch(key) or key in rows:
        return "need-number"
    if not ONCE.fullmatch(str(args.get("once", ""))):
        return "need-once"
    if args.get("category") not in reception.categories:
        return "need-category"
    if args.get("channel") not in CHANNELS:
        return "need-channel"
    full = sum(row.state in OPEN for row in rows.values()) >= reception.most_open
    return "needs-full" if full else ""


def _objection_to_move(reception: Reception, row: Need, command: Command) -> str:
    """Why a need, as it stands, is not open to a command."""
    action = command.action
    if action in _MOVES and row.state not in _MOVES[action][0]:
        return "need-state"
    if action in (_MARKS | {"need-reopen"}) - {"need-change"} and not row.sealed:
        return "need-erased"
    if action == "need-reopen" and _age(row, command.at) > reception.reopen_days * DAY:
        return "need-reopen-late"
    return ""


def _objection_to_args(reception: Reception, row: Need, command: Command) -> str:
    """What is wrong with what a command says besides the need's number."""
    args, action = command.args, command.action
    category = reception.categories.get(str(args.get("category", row.category)))
    owner = _owner(args, row, category) if action == "need-accept" else args.get("owner", "")
    due, stars = args.get("due", row.due), args.get("satisfaction", 0)
    fine = {
        "need-category": "category" not in args or category,
        "need-owner": owner in reception.owners or (action != "need-accept" and not owner),
        "need-referral": action != "need-refer" or _referral(args, category) in reception.referrals,
        "need-outcome": action != "need-close"
        or (args.get("outcome") in OUTCOMES and type(stars) is int and 0 <= stars <= 5),
        "need-due": "due" not in args
        or (type(due) is int and row.created.wall <= due <= command.at.wall + YEAR),
    }
    return next((key for key, holds in fine.items() if not holds), "")


_KINDS = {
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
"""The fact that tells of each command."""


def _owner(args: Mapping[str, Any], row: Need, category: Category | None) -> str:
    """Who is to see to it: who was named, or does, or usually would."""
    return str(args.get("owner") or row.owner or (category.owner if category else ""))


def _referral(args: Mapping[str, Any], category: Category | None) -> str:
    """To whom it is referred: who was named, or usually is."""
    return str(args.get("to") or (category.referral if category else ""))


def _age(row: Need, at: Stamp) -> float:
    """Seconds since a need ended."""
    return at.seconds_since(row.ended, unknown=0.0) if row.ended else 0.0


def _erased(row: Need, at: Stamp) -> Need:
    """Without its particulars, nobody can do anything about a need any more."""
    if row.state in OPEN:
        return msgspec.structs.replace(row, sealed=False, state=State.WITHDRAWN, ended=at)
    return msgspec.structs.replace(row, sealed=False)


def _noted(row: Need, step: Step) -> Need:
    return msgspec.structs.replace(row, steps=(*row.steps, step)[-STEPS:])


def _fact(kind: str, key: str, row: Need, at: Stamp, **more: Any) -> Fact:
    seconds = row.ended.seconds_since(row.created) if row.ended else None
    body = {
        "id": key,
        "category": row.category,
        "channel": row.channel,
        "state": row.state,
        "created": row.created.wall,
        "due": row.due,
        "owner": row.owner,
        "referral": row.referral,
        "outcome": row.outcome,
        "satisfaction": row.satisfaction,
        "seconds": None if seconds is None else round(seconds),
        "overdue": row.overdue,
        **more,
    }
    return Fact(Lane.EVENT, GATEWAY, kind, at, body, durable=True)
