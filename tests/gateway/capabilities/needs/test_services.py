from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack
from msgspec.structs import asdict, replace

from gateway.capabilities.needs import services as needs
from gateway.capabilities.needs.services import OPEN_STATES, Category, Need, Needs, NeedState, Reception
from gateway.model import ClockQuality, Command, Fact, Lane, Tick
from tests.gateway.services.kit import Fold, at, command, kinds, tick

DAY = 86_400.0
RECEPTION = Reception(
    categories={
        "repair": Category(title={"zh": "报修"}, days=3, owner="desk", referral="property"),
        "advice": Category(title={"zh": "咨询"}, days=1),
    },
    owners={"desk": {"zh": "服务台"}, "nurse": {"zh": "护士"}},
    referrals={"property": {"zh": "物业"}, "clinic": {"zh": "医院"}},
    most_open=5,
)
ONE = "48273915"


def desk(reception: Reception | None = RECEPTION) -> Fold:
    return Fold(Needs(reception))


def do(fold: Fold, action: str, second: float = 0, /, **args: Any) -> list[Fact]:
    return fold.step(wish(action, second, **args))


def wish(action: str, second: float = 0, /, **args: Any) -> Command:
    args = {"id": ONE, **args}
    return command(f"need-{action}", "gateway", second, origin="dashboard", args=args)


def register(fold: Fold, second: float = 0, /, **args: Any) -> list[Fact]:
    given_ = {"category": "repair", "channel": "kiosk", "once": "form-1", "sealed": True, **args}
    return do(fold, "register", second, **given_)


def why(fold: Fold, action: str, second: float = 0, /, **args: Any) -> str:
    assert isinstance(fold.service, Needs)
    return fold.service.objection(fold.rows, wish(action, second, **args))


def test_a_need_goes_from_hand_to_hand_until_the_resident_knows_how_it_ended() -> None:
    fold = desk()
    (fact,) = register(fold)
    assert (fact.kind, fact.lane, fact.durable, fact.device) == (
        "need-registered", Lane.EVENT, True, "gateway",
    )  # fmt: skip
    assert fact.body["due"] == at(3 * DAY).wall_ms
    assert do(fold, "accept", 10)[0].body["owner"] == "desk"
    (referred,) = do(fold, "refer", 20)
    assert (referred.body["referral"], referred.body["state"]) == ("property", "referred")
    assert do(fold, "accept", 30, owner="nurse")[0].body["owner"] == "nurse"
    assert kinds(do(fold, "done", DAY)) == ["need-done"]
    (closed,) = do(fold, "close", 2 * DAY, outcome="met", satisfaction=5)
    assert closed.body == {
        "id": ONE, "category": "repair", "channel": "kiosk", "state": "closed", "created": at(0).wall_ms,
        "due": at(3 * DAY).wall_ms, "owner": "nurse", "referral": "property", "outcome": "met",
        "satisfaction": 5, "seconds": DAY, "overdue": False, "by": "王",
    }  # fmt: skip
    row = fold.rows[ONE]
    assert row.referred
    assert [step.what for step in row.steps] == ["accept", "refer", "accept", "done", "close"]
    assert fold.service.summary(fold.rows) == {"open": 0, "new": 0, "overdue": 0}


@pytest.mark.parametrize("state", NeedState)
@pytest.mark.parametrize("action", ["accept", "refer", "done", "close", "withdraw", "reopen"])
def test_each_state_is_open_to_what_makes_sense_in_it(state: NeedState, action: str) -> None:
    fold = desk()
    register(fold)
    ended = None if state in OPEN_STATES else at(1)
    fold.rows[ONE] = replace(fold.rows[ONE], state=state, ended=ended)
    before = dict(fold.rows)
    facts = do(fold, action, 2, outcome="unmet")
    allowed = {
        "accept": OPEN_STATES, "refer": OPEN_STATES, "done": OPEN_STATES,
        "close": OPEN_STATES | {NeedState.DONE},
        "withdraw": OPEN_STATES | {NeedState.DONE}, "reopen": set(NeedState) - OPEN_STATES,
    }[action]  # fmt: skip
    assert bool(facts) == (state in allowed)
    if state not in allowed:
        assert fold.rows == before
        assert why(fold, action, 2, outcome="unmet") == "need-state"
    assert (fold.rows[ONE].ended is None) == (fold.rows[ONE].state in OPEN_STATES)


def test_an_overdue_need_is_told_of_once_and_a_later_date_mends_it() -> None:
    fold = desk()
    register(fold)
    assert fold.step(tick(3 * DAY - 1)) == []
    (late,) = fold.step(tick(3 * DAY))
    assert (late.kind, late.durable, late.body["overdue"]) == ("need-overdue", True, True)
    assert fold.step(tick(3 * DAY + 1)) == []
    assert fold.service.summary(fold.rows)["overdue"] == 1
    assert kinds(do(fold, "change", 3 * DAY + 2, due=at(5 * DAY).wall_ms)) == ["need-changed"]
    assert fold.step(tick(3 * DAY + 3)) == []
    assert fold.service.summary(fold.rows)["overdue"] == 0
    assert kinds(fold.step(tick(5 * DAY))) == ["need-overdue"]
    do(fold, "close", 5 * DAY, outcome="partly")
    assert fold.rows[ONE].overdue, "that it was late stays on record"


def test_a_clock_that_was_never_set_makes_nothing_late_and_destroys_nothing() -> None:
    fold = desk()
    register(fold)
    do(fold, "withdraw")
    unset = replace(at(9999 * DAY), clock=ClockQuality.UNSET)
    assert fold.step(Tick(unset, "1970-01-01")) == []
    # Another boot, whose clock has leapt years ahead and is not set right yet.
    leapt = replace(at(0, "next"), wall_ms=at(9999 * DAY).wall_ms, mono_ns=60 * 10**9)
    assert fold.step(Tick(leapt, "2054-01-01")) == []
    assert fold.rows[ONE].sealed


def test_it_can_be_opened_again_for_a_while() -> None:
    fold = desk()
    register(fold)
    do(fold, "close", DAY, outcome="met", satisfaction=4)
    assert why(fold, "reopen", 16 * DAY) == "need-reopen-late"
    assert kinds(do(fold, "reopen", 14 * DAY)) == ["need-reopened"]
    row = fold.rows[ONE]
    assert (row.state, row.ended, row.outcome, row.satisfaction) == (NeedState.ACCEPTED, None, "", 0)
    assert row.due == at(17 * DAY).wall_ms


def test_particulars_go_some_days_after_the_end_and_the_need_stays_for_the_statistics() -> None:
    fold = desk()
    register(fold)
    do(fold, "done", DAY)
    do(fold, "close", 3 * DAY, outcome="met", satisfaction=5)
    assert fold.step(tick(181 * DAY - 1)) == []
    leapt = msgspec.structs.replace(tick(999 * DAY), clock_is_steady=False)
    assert fold.step(leapt) == [], "a clock that has just leapt may be wrong"
    (erased,) = fold.step(tick(181 * DAY))
    assert (erased.kind, erased.durable) == ("need-erased", True)
    assert fold.step(tick(182 * DAY)) == []
    row = fold.rows[ONE]
    assert (row.sealed, row.state, row.satisfaction) == (False, NeedState.CLOSED, 5)
    assert (row.steps[-1].what, row.steps[-1].detail) == ("erase", "retention")
    for action in ("look", "note", "erase", "reopen"):
        assert why(fold, action, 182 * DAY) == "need-erased"


def test_on_request_the_particulars_go_at_once_and_an_open_need_with_them() -> None:
    fold = desk()
    register(fold)
    (fact,) = do(fold, "erase", 5)
    assert (fact.kind, fact.body["state"], fact.body["by"]) == ("need-erased", "withdrawn", "王")
    assert (fold.rows[ONE].sealed, fold.rows[ONE].ended) == (False, at(5))


def test_who_looked_at_the_particulars_is_on_record() -> None:
    fold = desk()
    register(fold)
    (fact,) = do(fold, "look", 7)
    assert (fact.kind, fact.durable, fact.body["by"]) == ("need-looked", True, "王")
    assert asdict(fold.rows[ONE].steps[0]) == {"what": "look", "at": at(7), "by": "王", "detail": ""}
    for second in range(200):
        do(fold, "look", second)
    assert len(fold.rows[ONE].steps) == needs.MAX_STEPS


@pytest.mark.parametrize(
    ("action", "args", "reason"),
    [
        ("register", {"category": "war"}, "need-category"),
        ("register", {"channel": "pigeon"}, "need-channel"),
        ("register", {"id": "1"}, "need-number"),
        ("register", {"id": "00000001"}, "need-number"),
        ("register", {"id": ONE}, "need-number"),
        ("register", {"once": "我叫张三"}, "need-once"),
        ("accept", {"owner": "张三 13800138000"}, "need-owner"),
        ("accept", {"id": "99999999"}, "need-unknown"),
        ("accept", {"id": None}, "need-unknown"),
        ("refer", {"to": "张三家"}, "need-referral"),
        ("close", {}, "need-outcome"),
        ("close", {"outcome": "met", "satisfaction": 6}, "need-outcome"),
        ("close", {"outcome": "met", "satisfaction": True}, "need-outcome"),
        ("change", {"category": "war"}, "need-category"),
        ("change", {"owner": "nobody"}, "need-owner"),
        ("change", {"due": at(-DAY).wall_ms}, "need-due"),
        ("change", {"due": at(999 * DAY).wall_ms}, "need-due"),
        ("change", {"due": "tomorrow"}, "need-due"),
    ],
)
def test_what_makes_no_sense_is_refused_and_says_why(
    action: str, args: dict[str, Any], reason: str
) -> None:
    fold = desk()
    register(fold)
    defaults = {"id": "48273916", "category": "repair", "channel": "kiosk"} if action == "register" else {}
    before = dict(fold.rows)
    assert why(fold, action, **{**defaults, **args}) == reason
    assert do(fold, action, **{**defaults, **args}) == []
    assert fold.rows == before


def test_there_is_an_end_to_open_needs_and_to_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = desk()
    for n in range(5):
        assert register(fold, n, id=str(10_000_000 + n))
    assert why(fold, "register", id="10000009", category="advice", channel="desk") == "needs-full"
    do(fold, "erase", 10, id="10000003")
    do(fold, "erase", 11, id="10000001")
    monkeypatch.setattr(needs, "MAX_NEEDS", 5)
    assert register(fold, 12, id="10000009")
    assert "10000003" not in fold.rows, "the one that has been over for longest"
    assert len(fold.rows) == 5


def test_a_site_that_registers_no_needs_says_so() -> None:
    fold = desk(None)
    assert register(fold) == []
    assert why(fold, "accept") == "needs-off"
    assert fold.service.summary(fold.rows) == {}
    assert fold.step(tick(999 * DAY)) == []


def test_a_restart_forgets_nothing() -> None:
    fold = desk()
    register(fold)
    do(fold, "refer", 5, to="clinic")
    kept = {key: msgpack.decode(msgpack.encode(row), type=Need) for key, row in fold.rows.items()}
    assert dict(fold.service.restore(kept)) == fold.rows


ACTIONS = ["register", "accept", "refer", "done", "close", "withdraw", "reopen", "change", "erase", "tick"]


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.floats(0, 40 * DAY), st.text(max_size=8))))
def test_nothing_that_is_typed_gets_into_a_row_or_a_fact(
    steps: list[tuple[str, float, str]],
) -> None:
    fold = desk()
    register(fold)
    second = 3600.0
    for action, later, typed in steps:
        second += later
        if action == "tick":
            facts = fold.step(tick(second))
        else:
            said = f"张{typed}三"
            facts = do(
                fold, action, second, owner=said, to=said, outcome=said, text=said, note=said,
                category=said, due=said, **{said: said}, satisfaction=said, channel=said, once=said,
            )  # fmt: skip
        assert all("张".encode() not in msgpack.encode(fact.body) for fact in facts)
        assert "张".encode() not in msgpack.encode(fold.rows)
        row = fold.rows[ONE]
        assert (row.ended is None) == (row.state in OPEN_STATES)
        assert not (row.state in OPEN_STATES and not row.sealed)
