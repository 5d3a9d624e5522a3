import pytest

from gateway.model import ClockQuality, Outcome, Stamp
from gateway.services.commands import RETENTION_MS, Commands, CommandStatus
from tests.gateway.services.kit import Fold, at, command, kinds, tick


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
    ],
)
def test_what_may_not_be_asked_is_denied_and_written_down(fields: dict[str, object], reason: str) -> None:
    fold = commands()
    (fact,) = fold.step(command(**fields))  # type: ignore[arg-type]
    assert (fact.body["status"], fact.body["detail"]) == ("denied", reason)
    assert fact.device in ("d", "gateway"), "a stranger's word must not open a stream"


def test_without_a_set_clock_nobody_can_tell_an_old_command() -> None:
    fold = commands()
    unset = Stamp(5_000, 5_000_000, "boot", ClockQuality.UNSET)
    asked = command("open", expires=60_000)
    fold.step(type(asked)(**{**{f: getattr(asked, f) for f in asked.__struct_fields__}, "at": unset}))
    assert fold.rows["c1"].detail == "clock-unset"


def test_the_same_id_is_judged_once() -> None:
    fold = commands()
    fold.step(command("open"))
    fold.step(Outcome("c1", "done", at(1)))
    assert fold.step(command("open", second=2)) == []
    assert fold.rows["c1"].status is CommandStatus.DONE


def test_a_command_that_a_restart_cut_short_is_never_tried_again() -> None:
    fold = commands()
    fold.step(command("open"))
    fold.restart()
    (fact,) = fold.step(tick(1))
    assert (fact.kind, fact.body["status"], fact.body["detail"]) == ("outcome", "unknown", "restart")
    assert fold.step(command("open", second=2)) == []


def test_an_old_command_is_forgotten_but_still_refused() -> None:
    fold = commands()
    fold.step(command("open"), Outcome("c1", "done", at(1)))
    assert kinds(fold.step(tick(60 + RETENTION_MS / 1000 + 1))) == []
    assert fold.rows == {}
    fold.step(command("open", second=60 + RETENTION_MS / 1000 + 2, expires=at(60).wall_ms))
    assert fold.rows["c1"].status is CommandStatus.DENIED
