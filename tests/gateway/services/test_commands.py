from typing import Any

import msgspec
import pytest

from gateway.model import ClockQuality, Outcome, Stamp
from gateway.services.commands import (
    MAX_COMMANDS,
    Commands,
    CommandStatus,
    forget_lost,
    latest_expiry,
)
from gateway.words import LANGUAGES, error_summary
from tests.gateway.services.kit import Fold, at, command, tick

HOUR_MS = 3_600_000


def commands() -> Fold:
    return Fold(Commands({"upstream": frozenset({"open"})}, ["d"]))


def test_an_allowed_command_is_accepted_and_written_down_at_once() -> None:
    fold = commands()
    (fact,) = fold.step(command("open", args={"lock": 3}))
    assert fact.durable
    assert fact.body["args"] == {"lock": 3}
    assert fold.rows["c1"].status is CommandStatus.ACCEPTED


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"action": "reboot"}, "not-allowed"),
        ({"action": "open", "origin": "dashboard"}, "not-allowed"),
        ({"action": "open", "device": "no-such-thing"}, "device-unknown"),
        ({"action": "open", "expires": at(0).wall_ms}, "expired"),
        ({"action": "open", "expires": at(0).wall_ms + HOUR_MS + 1}, "lifetime-too-long"),
        ({"action": "open", "expires": 2**63 - 1}, "lifetime-too-long"),
    ],
)
def test_what_may_not_be_asked_is_denied_and_written_down(fields: dict[str, object], reason: str) -> None:
    fold = commands()
    (fact,) = fold.step(command(**fields))  # type: ignore[arg-type]
    assert (fact.body["status"], fact.body["detail"]) == ("denied", reason)
    assert "…" not in error_summary("zh", reason, fact.body.get("facts", {}))
    assert fact.device in ("d", "gateway"), "a stranger's word must not open a stream"
    assert fold.rows == {}, "strangers must not fill the memory"


@pytest.mark.parametrize("language", LANGUAGES)
def test_why_a_command_is_denied_is_a_whole_sentence(language: str) -> None:
    asked = (
        command("open", device="no-such-thing"),
        command("reboot"),
        command("open", expires=at(0).wall_ms),
        command("open", expires=at(0).wall_ms + HOUR_MS + 1),
        msgspec.structs.replace(command("open"), at=Stamp(1, 1, "b", ClockQuality.UNSET)),
    )
    for each in asked:
        row = Commands({"upstream": frozenset({"open"})}, ["d"]).evaluate({}, each)
        said = error_summary(language, row.detail, row.facts)
        assert row.status is CommandStatus.DENIED
        assert "…" not in said
        assert row.detail != "device-unknown" or ("no-such-thing" in said and said.endswith("d"))


def test_why_a_command_failed_is_recorded_as_a_whole_sentence() -> None:
    fold = commands()
    fold.step(command("open"))
    facts = {"unit": 7, "table": "coil", "address": 3, "code": 4}
    (fact,) = fold.step(Outcome("c1", "failed", at(1), "modbus-write", facts))
    said = error_summary("en", fact.body["detail"], fact.body["facts"])
    assert "unit 7" in said
    assert "…" not in said


def test_of_many_devices_some_are_named() -> None:
    devices = [f"d{number}" for number in range(1500)]
    row = Commands({}, devices).evaluate({}, command("open", device="no-such-thing"))
    assert len(row.facts["known"]) < 100


@pytest.mark.parametrize("lifetime_ms", [1, HOUR_MS])
def test_the_shortest_and_the_longest_lifetime_are_valid(lifetime_ms: int) -> None:
    fold = commands()
    fold.step(command("open", expires=at(0).wall_ms + lifetime_ms))
    assert fold.rows["c1"].status is CommandStatus.ACCEPTED


def test_without_a_set_clock_nobody_can_tell_an_old_command() -> None:
    fold = commands()
    unset = Stamp(5_000, 5_000_000, "boot", ClockQuality.UNSET)
    (fact,) = fold.step(msgspec.structs.replace(command("open", expires=60_000), at=unset))
    assert fact.body["detail"] == "clock-unset"


def test_the_same_id_is_judged_once() -> None:
    fold = commands()
    fold.step(command("open"))
    fold.step(Outcome("c1", "done", at(1)))
    assert fold.step(command("open", second=2)) == []
    assert fold.rows["c1"].status is CommandStatus.DONE


@pytest.mark.parametrize("later", [61, 3_601, 86_399, 30 * 86_400])
def test_a_late_copy_is_no_second_fact(later: float) -> None:
    fold = commands()
    asked: dict[str, Any] = {"action": "open", "expires": at(60).wall_ms}
    fold.step(command(**asked), Outcome("c1", "done", at(1)))
    assert fold.step(tick(later), command(**asked, second=later)) == []
    assert fold.rows["c1"].status is CommandStatus.DONE


def test_a_command_that_a_restart_cut_short_is_never_tried_again() -> None:
    fold = commands()
    fold.step(command("open"))
    fold.restart()
    (fact,) = fold.step(tick(1))
    assert (fact.kind, fact.body["status"], fact.body["detail"]) == ("outcome", "unknown", "restart")
    assert fold.step(command("open", second=2)) == []


@pytest.mark.parametrize(
    "other",
    [
        {"args": {"lock": 4}},
        {"device": "e"},
        {"by": "李"},
        {"action": "close"},
        {"args": {"lock": 3.0}},
        {"args": {"lock": True}},
    ],
)
def test_the_same_id_with_other_content_is_refused(other: dict[str, Any]) -> None:
    fold = Fold(Commands({"upstream": frozenset({"open", "close"})}, ["d", "e"]))
    asked: dict[str, Any] = {"action": "open", "args": {"lock": 3}, "expires": at(60).wall_ms}
    fold.step(command(**asked), Outcome("c1", "done", at(1)))
    (fact,) = fold.step(command(**{**asked, **other}, second=2))
    assert (fact.kind, fact.body["status"], fact.body["detail"]) == ("command", "denied", "id-reused")
    assert fold.rows["c1"].status is CommandStatus.DONE
    assert fold.step(command(**asked, second=3)) == [], "the first is still a repetition"


YEARS = 10 * 366 * 86_400


@pytest.mark.parametrize("leap", [YEARS, 2 * HOUR_MS // 1000, 86_401 * 2])
def test_a_clock_that_leaps_ahead_and_back_makes_no_command_new(leap: float) -> None:
    fold = commands()
    fold.step(command("open"), Outcome("c1", "done", at(1)))
    fold.step(tick(leap), command("open", id="ahead", second=leap), tick(2 * leap), tick(2))
    assert fold.step(command("open", second=3)) == []
    assert fold.rows["c1"].status is CommandStatus.DONE
    fold.step(command("open", id="c2", second=4))
    assert fold.rows["c2"].status is CommandStatus.ACCEPTED, "it works on"


def fill(fold: Fold, count: int = MAX_COMMANDS) -> None:
    for n in range(count):
        fold.step(command("open", id=f"n{n}", second=n), Outcome(f"n{n}", "done", at(n)))


def test_what_was_forgotten_is_refused_whatever_the_clock_says() -> None:
    fold = commands()
    fold.step(command("open"), Outcome("c1", "done", at(1)))
    fold.step(command("open", id="slow", expires=at(50).wall_ms))
    fill(fold)
    assert "c1" not in fold.rows
    assert "slow" in fold.rows, "it is in hand"
    assert len(fold.rows) <= MAX_COMMANDS + 3
    for second in (1.0, float(MAX_COMMANDS), 3.0):
        (fact,) = fold.step(command("open", second=second, expires=at(60).wall_ms))
        assert fact.body["detail"] == ("expired" if second > 60 else "maybe-repeated")
        fold.restart()
        fold.step(tick(second))
    fold.step(command("open", id="new", second=MAX_COMMANDS))
    assert fold.rows["new"].status is CommandStatus.ACCEPTED


def test_what_2000_later_commands_have_followed_is_forgotten_and_still_refused() -> None:
    fold = commands()
    fill(fold, 2001)
    assert "n0" in fold.rows
    again: dict[str, Any] = {"action": "open", "second": 1}
    assert fold.step(command(**again, id="n0", expires=at(60).wall_ms)) == []
    forgotten = [f"n{n}" for n in range(101)]
    for newest in (2001, 2002):
        fold.step(
            command("open", id=f"n{newest}", second=newest), Outcome(f"n{newest}", "done", at(newest))
        )
        assert [f"n{n}" for n in range(newest) if f"n{n}" not in fold.rows] == forgotten
        for n, key in enumerate(forgotten):
            (fact,) = fold.step(command(**again, id=key, expires=at(n + 60).wall_ms))
            assert fact.body["detail"] == "maybe-repeated"


def test_commands_from_a_clock_that_was_ahead_lock_nothing_out() -> None:
    """Somebody sets the clock a year ahead, tries the lockers, and sets it right."""
    fold = commands()
    for n in range(5):
        fold.step(command("open", id=f"ahead{n}", second=YEARS + n))
    fill(fold, MAX_COMMANDS + 10)
    fold.step(command("open", id="new", second=MAX_COMMANDS + 10))
    assert fold.rows["new"].status is CommandStatus.ACCEPTED


def test_after_rows_were_lost_nothing_is_accepted_that_may_have_been_executed() -> None:
    fold = commands()
    fold.step(command("open"))
    latest = latest_expiry(fold.rows)
    assert latest == at(60).wall_ms
    fold.rows = {key: row for key, row in forget_lost(at(5), latest).items() if row}
    assert latest_expiry(fold.rows) == latest, "it is lost once"
    (fact,) = fold.step(command("open", second=6, expires=at(60).wall_ms))
    assert fact.body["detail"] == "maybe-repeated"
    fold.step(command("open", id="c2", second=6, expires=at(60.001).wall_ms))
    assert fold.rows["c2"].status is CommandStatus.ACCEPTED


def test_rows_lost_after_the_clock_was_ahead_lock_out_for_a_lifetime_at_most() -> None:
    fold = commands()
    fold.rows = {key: row for key, row in forget_lost(at(5), at(YEARS).wall_ms).items() if row}
    valid = {"second": 6, "expires": at(6).wall_ms + HOUR_MS}
    assert (
        fold.step(command("open", **{**valid, "expires": at(5).wall_ms + HOUR_MS}))[0].body["detail"]
        == "maybe-repeated"
    )
    fold.step(command("open", id="c2", **valid))
    assert fold.rows["c2"].status is CommandStatus.ACCEPTED


def test_a_lost_command_that_expires_in_an_hour_may_be_repeated_until_then() -> None:
    """The clock was three seconds ahead when the rows were lost."""
    fold = commands()
    lost = at(8).wall_ms + HOUR_MS
    fold.rows = {key: row for key, row in forget_lost(at(5), lost).items() if row}
    (fact,) = fold.step(command("open", second=8, expires=lost))
    assert fact.body["detail"] == "maybe-repeated"
