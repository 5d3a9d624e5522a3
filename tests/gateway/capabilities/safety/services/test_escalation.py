"""Who is told of an alarm, when: plans, restarts, flapping, and that nobody is forgotten."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capabilities.safety.services.escalation import (
    FAILURES_UNTIL_FAULT,
    MAX_DELIVERY_AGE_S,
    MAX_RETRY_DELAY_S,
    Escalation,
    EscalationCase,
    EscalationPlan,
    EscalationStep,
    Notice,
    delivery_id,
    due_notices,
    notice_key,
    retry_delay_s,
)
from gateway.model import LATCHING_HAZARDS, Fact, Hazard, Lane, Outcome, Stamp
from tests.gateway.services.kit import Fold, adopted, at, tick

PLAN = EscalationPlan(
    steps=(
        EscalationStep(tell=("duty",), by=("sms", "chat")),
        EscalationStep(after=60, tell=("wang",), by=("sms",)),
        EscalationStep(after=300, tell=("duty", "wang", "boss"), by=("sms", "mail", "chat")),
    ),
    repeat_interval_s=600,
    fallback_contacts=("boss",),
    flap_window_s=600,
)
REACH = {
    "sms": frozenset({"li", "wang"}),
    "mail": frozenset({"wang", "boss"}),
    "chat": None,
}


def plans(plan: EscalationPlan = PLAN) -> dict[Hazard, EscalationPlan]:
    return dict.fromkeys(Hazard, plan)


def escalation(plan: EscalationPlan = PLAN, duty: tuple[str, ...] = ("li",)) -> Fold:
    return Fold(Escalation(plans(plan), REACH, lambda _: duty))


def alarm(
    change: str,
    second: float,
    state: str,
    hazard: Hazard = Hazard.FIRE,
    *,
    key: str = "smoke/smoke/1",
    mode: str = "",
    by: str = "",
    boot: str = "boot",
) -> Fact:
    body: dict[str, Any] = {
        "id": key, "change": change, "state": state, "point": "smoke", "hazard": hazard, "value": True,
        "latch": hazard in LATCHING_HAZARDS,
        "raised": at(0).wall_ms, "by": by, "mode": mode, "why": "",
    }  # fmt: skip
    return Fact(Lane.ALARM, "smoke", "alarm", at(second, boot), body)


def told(fold: Fold, second: float, boot: str = "boot", status: str = "done") -> list[str]:
    """Deliver what is due, and say it: channel, contact, news."""
    said = []
    for channel in REACH:
        for key, notice in due_notices(fold.rows, channel, at(second, boot)).items():
            said.append(f"{channel} {notice.contact or '+'.join(notice.mention)} {notice.change}")
            fold.step(Outcome(delivery_id(key, notice.number), status, at(second, boot), "x"))
    return said


def test_the_plan_is_walked_until_somebody_acknowledges() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    assert told(fold, 0) == ["sms li raised", "chat li raised"]
    fold.step(tick(59))
    assert told(fold, 59) == []
    fold.step(tick(60))
    assert told(fold, 60) == ["sms wang raised"]
    fold.step(tick(300))
    assert told(fold, 300) == [
        "sms li raised", "sms wang raised", "mail wang raised", "mail boss raised",
        "chat li+wang+boss raised",
    ]  # fmt: skip
    fold.step(tick(899))
    assert told(fold, 899) == []
    fold.step(tick(900))
    assert len(told(fold, 900)) == 5
    fold.step(alarm("acknowledged", 901, "acknowledged", by="王"))
    assert told(fold, 901) == [
        "sms li acknowledged", "sms wang acknowledged",
        "mail wang acknowledged", "mail boss acknowledged", "chat  acknowledged",
    ]  # fmt: skip
    fold.step(tick(5000))
    assert told(fold, 5000) == []


def test_no_two_notices_have_the_same_name() -> None:
    fold = escalation()
    names = []
    for fact in (alarm("raised", 0, "active"), alarm("acknowledged", 5, "acknowledged", by="王")):
        fold.step(fact)
        for channel in REACH:
            for key, notice in due_notices(fold.rows, channel, fact.at).items():
                names.append(delivery_id(key, notice.number))
                fold.step(Outcome(names[-1], "done", fact.at))
    assert len(names) == len(set(names)) == 4


def test_only_those_who_were_told_are_told_of_the_end() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    told(fold, 0)
    fold.step(alarm("acknowledged", 5, "acknowledged", by="王"))
    assert told(fold, 5) == ["sms li acknowledged", "chat  acknowledged"]
    fold.step(alarm("cleared", 6, "latched"), alarm("closed", 7, "normal", by="王"))
    assert told(fold, 7) == ["sms li closed", "chat  closed"]
    assert fold.rows == {}, "nothing is kept of what is over"


def test_muting_is_no_acknowledgement() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    told(fold, 0)
    fold.step(alarm("muted", 1, "active", by="王"), tick(60))
    assert told(fold, 60) == ["sms wang raised"]


def test_a_fire_that_went_out_by_itself_is_still_to_be_looked_at() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    told(fold, 0)
    fold.step(alarm("cleared", 10, "cleared"))
    assert told(fold, 10) == ["sms li cleared", "chat  cleared"]
    fold.step(tick(60))
    assert told(fold, 60) == ["sms wang cleared"]


def test_what_need_not_be_reset_ends_with_its_cause() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active", Hazard.FOOD))
    told(fold, 0)
    fold.step(alarm("cleared", 10, "cleared", Hazard.FOOD))
    assert told(fold, 10) == ["sms li cleared", "chat  cleared"]
    fold.step(tick(4000))
    assert told(fold, 4000) == []


@pytest.mark.parametrize("mode", ["shelved", "disabled", "test"])
def test_what_people_have_put_aside_wakes_nobody(mode: str) -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active", mode=mode), tick(1000))
    assert told(fold, 1000) == []
    assert fold.rows == {}


def test_shelving_ends_the_telling_and_unshelving_begins_it_again() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    told(fold, 0)
    fold.step(alarm("shelved", 30, "active", mode="shelved", by="王"))
    assert told(fold, 30) == ["sms li shelved", "chat  shelved"]
    fold.step(tick(1000))
    assert told(fold, 1000) == []
    fold.step(alarm("unshelved", 2000, "active"))
    assert told(fold, 2000) == ["sms li raised", "chat li raised"]


def test_a_drill_is_told_of_only_if_the_plan_says_so_and_is_marked() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active", mode="drill"))
    assert told(fold, 0) == []
    fold = escalation(msgspec.structs.replace(PLAN, include_drills=True))
    fold.step(alarm("raised", 0, "active", mode="drill"))
    assert all(row.alarm.drill for row in fold.rows.values())
    assert told(fold, 0) == ["sms li raised", "chat li raised"]


def test_with_nobody_on_duty_the_fallback_is_told() -> None:
    fold = escalation(duty=())
    fold.step(alarm("raised", 0, "active"))
    assert told(fold, 0) == ["chat boss raised"]


def test_an_alarm_that_flaps_is_not_told_each_time_and_its_last_state_is() -> None:
    fold = escalation()
    said: list[str] = []
    for second in range(0, 300, 10):
        state, change = ("active", "raised") if second % 20 == 0 else ("cleared", "cleared")
        fold.step(alarm(change, second, state, Hazard.WATER))
        said += [each for each in told(fold, second) if each.startswith("chat")]
    assert said == ["chat li raised", "chat  cleared"]
    for second in range(300, 1300, 10):
        fold.step(tick(second))
        said += told(fold, second)
    assert said[2:] == ["sms li cleared", "sms wang cleared", "chat  cleared"]


def test_a_fire_that_flaps_is_not_told_each_time_either() -> None:
    fold = escalation()
    said: list[str] = []
    for second in range(0, 60, 5):
        state, change = ("active", "raised") if second % 10 == 0 else ("cleared", "cleared")
        fold.step(alarm(change, second, state))
        said += [each for each in told(fold, second) if each.startswith("chat")]
    assert said == ["chat li raised", "chat  cleared"]
    fold.step(tick(60))
    assert told(fold, 60) == ["sms wang cleared"]


def test_a_new_occurrence_of_what_was_acknowledged_begins_anew() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"), alarm("acknowledged", 5, "acknowledged", by="王"))
    told(fold, 5)
    fold.step(alarm("cleared", 6, "latched"))
    told(fold, 6)
    fold.step(alarm("raised", 20, "active", key="smoke/smoke/2"))
    assert told(fold, 20) == ["sms li raised", "chat li raised"]
    fold.step(alarm("acknowledged", 21, "acknowledged", key="smoke/smoke/2", by="王"))
    fold.step(alarm("cleared", 22, "latched", key="smoke/smoke/2"))
    fold.step(alarm("closed", 23, "normal", key="smoke/smoke/2", by="王"))
    told(fold, 23)
    assert fold.rows == {}


def test_one_that_comes_back_after_the_pause_begins_anew() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active", Hazard.WATER), alarm("cleared", 10, "cleared", Hazard.WATER))
    told(fold, 10)
    fold.step(alarm("raised", 5000, "active", Hazard.WATER))
    assert told(fold, 5000) == ["sms li raised", "chat li raised"]
    fold.step(tick(5060))
    assert told(fold, 5060) == ["sms wang raised"]


def test_a_restart_tells_nobody_twice_and_forgets_nobody() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    for key in list(due_notices(fold.rows, "sms", at(0))):
        fold.step(Outcome(delivery_id(key, 1), "done", at(0)))
    fold.restart()
    fold.step(tick(1))
    assert told(fold, 1) == ["chat li raised"]
    # Another boot, whose monotonic clock begins again.
    second = msgspec.structs.replace(tick(60), at=msgspec.structs.replace(at(60, "next"), mono_ns=5))
    fold.step(second)
    assert told(fold, 60, "next") == ["sms wang raised"]


def test_rows_survive_the_journal() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    key = next(iter(due_notices(fold.rows, "sms", at(0))))
    fold.step(Outcome(delivery_id(key, 1), "failed", at(0)))
    decode = msgspec.msgpack.Decoder(Escalation.row).decode
    assert {k: decode(msgspec.msgpack.encode(row)) for k, row in fold.rows.items()} == fold.rows


def test_a_channel_that_is_no_more_keeps_no_notices() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    fold.service = Escalation(plans(), {"sms": REACH["sms"]}, lambda _: ())
    fold.step(adopted())
    assert {row.channel for row in fold.rows.values() if isinstance(row, Notice)} == {"sms"}
    fold.step(alarm("acknowledged", 101, "acknowledged", by="王"))
    assert {row.channel for row in fold.rows.values() if isinstance(row, Notice)} == {"sms"}


def test_whoever_is_a_contact_no_more_is_told_nothing() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"), tick(60))
    told = {row.contact for row in fold.rows.values() if isinstance(row, Notice)}
    assert told == {"li", "wang", ""}
    fold.service = Escalation(plans(), {**REACH, "sms": frozenset({"li"})}, lambda _: ("li",))
    fold.step(adopted(), alarm("acknowledged", 61, "acknowledged", by="王"))
    assert {row.contact for row in fold.rows.values() if isinstance(row, Notice)} == {"li", ""}


def test_a_case_whose_plan_is_no_more_is_dropped() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    fold.service = Escalation({}, REACH, lambda _: ())
    fold.step(adopted(), tick(101))
    assert not [row for row in fold.rows.values() if isinstance(row, EscalationCase)]
    fold.step(alarm("closed", 102, "normal", by="王"))


def test_a_failed_delivery_is_tried_again_ever_more_slowly_and_given_up() -> None:
    fold = escalation(msgspec.structs.replace(PLAN, steps=PLAN.steps[:1], repeat_interval_s=86_400))
    fold.step(alarm("raised", 0, "active"))
    tries = []
    facts: list[Fact] = []
    for second in range(int(MAX_DELIVERY_AGE_S) + 700):
        for key, notice in due_notices(fold.rows, "sms", at(second)).items():
            tries.append(second)
            facts += fold.step(
                Outcome(delivery_id(key, notice.number), "failed", at(second), "channel-away")
            )
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert gaps[:4] == [5, 10, 20, 40]
    assert max(gaps) == MAX_RETRY_DELAY_S
    assert MAX_DELIVERY_AGE_S <= tries[-1] <= MAX_DELIVERY_AGE_S + MAX_RETRY_DELAY_S
    assert [fact.body["status"] for fact in facts] == ["failed", "abandoned"]
    assert facts[-1].body["detail"] == "channel-away"
    assert facts[-1].body["seconds"] >= MAX_DELIVERY_AGE_S


def test_what_was_delivered_is_on_record() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    [key] = due_notices(fold.rows, "sms", at(0))
    [fact] = fold.step(Outcome(delivery_id(key, 1), "done", at(2.5)))
    assert (fact.lane, fact.device, fact.kind, fact.durable) == (Lane.EVENT, "smoke", "notice", True)
    assert fact.body == {
        "alarm": "smoke/smoke/1", "news": "raised", "channel": "sms", "contact": "li", "mention": [],
        "status": "delivered", "tries": 1, "seconds": 2.5, "detail": "",
    }  # fmt: skip


def test_three_failures_are_a_fault_until_something_arrives() -> None:
    fold = escalation()

    def failed() -> bool:
        return bool(fold.service.summary(fold.rows)["sms.failed"])

    fold.step(alarm("raised", 0, "active"))
    [key] = due_notices(fold.rows, "sms", at(0))
    for n in range(FAILURES_UNTIL_FAULT):
        assert not failed()
        fold.step(Outcome(delivery_id(key, 1), "failed", at(n * 100), "x"))
    assert failed()
    assert fold.service.summary(fold.rows)["chat.failed"] is False
    fold.step(Outcome(delivery_id(notice_key("trial", "sms", "wang"), 0), "done", at(400)))
    assert failed(), "that it reaches Wang does not mean that it reaches Li"
    fold.step(Outcome(delivery_id(notice_key("trial", "sms", "li"), 0), "done", at(401)))
    assert not failed()


def test_newer_news_replace_what_was_not_delivered_and_a_late_receipt_does_not_lose_them() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    [key] = due_notices(fold.rows, "sms", at(0))
    fold.step(alarm("acknowledged", 1, "acknowledged", by="王"))
    fold.step(Outcome(delivery_id(key, 1), "done", at(2)))
    assert told(fold, 2) == ["sms li acknowledged", "chat  acknowledged"]


def test_the_most_urgent_is_delivered_first() -> None:
    fold = escalation()
    for n, hazard in enumerate((Hazard.FAULT, Hazard.WATER, Hazard.FIRE)):
        fold.step(alarm("raised", n, "active", hazard, key=f"{hazard}/1"))
    fold.step(alarm("raised", 0, "active", key="old/1"))
    fold.step(alarm("acknowledged", 3, "acknowledged", key="old/1"))
    order = [notice.alarm.id for notice in due_notices(fold.rows, "chat", at(9)).values()]
    assert order == ["fire/1", "water/1", "fault/1", "old/1"]


CHANNELS = tuple(REACH)
PEOPLE = ("li", "wang", "boss", "duty")
steps = st.lists(
    st.builds(
        EscalationStep,
        after=st.sampled_from([0.0, 30.0, 60.0, 300.0]),
        tell=st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3, unique=True).map(tuple),
        by=st.lists(st.sampled_from(("sms", "mail")), unique=True).map(lambda by: (*by, "chat")),
    ),
    min_size=1,
    max_size=4,
).map(lambda found: tuple(sorted(found, key=lambda step: step.after)))


@given(
    steps=steps,
    repeat=st.sampled_from([60.0, 600.0]),
    duty=st.sampled_from([(), ("li",), ("li", "wang")]),
    down=st.sets(st.sampled_from(CHANNELS), max_size=2),
    restarts=st.sets(st.integers(0, 100), max_size=3),
    hazard=st.sampled_from(list(Hazard)),
)
def test_whoever_is_on_duty_and_whatever_fails_somebody_is_told_in_time(
    steps: tuple[EscalationStep, ...],
    repeat: float,
    duty: tuple[str, ...],
    down: set[str],
    restarts: set[int],
    hazard: Hazard,
) -> None:
    """Of each step, everybody is told within ten seconds by each channel that works, once."""
    fold = escalation(
        EscalationPlan(steps=steps, repeat_interval_s=repeat, fallback_contacts=("boss",)), duty
    )
    fold.step(alarm("raised", 0, "active", hazard))
    heard: dict[tuple[str, str], list[float]] = {}
    boot = "boot"
    for n in range(101):
        second = n * 10.0
        if n in restarts:
            fold.restart()
            boot = f"boot-{n}"
        fold.step(msgspec.structs.replace(tick(second), at=at(second, boot)))
        for channel in CHANNELS:
            for key, notice in due_notices(fold.rows, channel, at(second, boot)).items():
                works = channel not in down
                fold.step(
                    Outcome(
                        delivery_id(key, notice.number), "done" if works else "failed", at(second, boot)
                    )
                )
                if works:
                    heard.setdefault((channel, notice.contact), []).append(second)
    for number, step in enumerate(steps):
        on_duty = duty or ("boss",)
        people = {who for name in step.tell for who in (on_duty if name == "duty" else (name,))}
        for channel in set(step.by) - down:
            reached = REACH[channel]
            for contact in [""] if reached is None else people & reached:
                times = heard.get((channel, contact), [])
                assert any(step.after <= time <= step.after + 10 for time in times)
                if number == len(steps) - 1:
                    assert any(step.after + repeat <= time <= step.after + repeat + 10 for time in times)
    most = len({step.after for step in steps}) + (1000 - steps[-1].after) // repeat
    assert all(len(times) <= most for times in heard.values()), "nobody is told twice of one step"
    [case] = [row for row in fold.rows.values() if isinstance(row, EscalationCase)]
    assert case.open


def test_the_back_off_is_bounded() -> None:
    assert retry_delay_s(1) == 5
    assert retry_delay_s(10_000) == MAX_RETRY_DELAY_S


def test_without_a_clock_after_a_restart_people_are_told_rather_too_early() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    told(fold, 0)
    unset = Stamp(1000, 5, "next", type(at(0).clock).UNSET)
    fold.step(msgspec.structs.replace(tick(0), at=unset))
    keys = [key for channel in REACH for key in due_notices(fold.rows, channel, unset)]
    assert keys, "the next step is taken at once"


def test_the_rows_keep_the_keys_that_older_journals_have() -> None:
    fold = escalation()
    fold.step(alarm("raised", 0, "active"))
    rows = {row["type"]: row for row in map(msgspec.to_builtins, fold.rows.values())}
    assert rows["case"].keys() == {
        "type", "about", "open", "began", "last", "steps", "told", "news", "by", "said", "said_at",
        "tellings", "again",
    }  # fmt: skip
    assert rows["notice"].keys() == {
        "type", "about", "news", "by", "channel", "contact", "mention", "at", "number", "tries", "tried",
    }  # fmt: skip
