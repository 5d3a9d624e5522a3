import msgspec

from gateway.model import Arrival
from gateway.services.presence import DeviceState, Presence, device_state
from tests.gateway.services.kit import Fold, adopted, at, sample


def test_each_going_and_coming_is_told_once() -> None:
    fold = Fold(Presence())
    told = [
        [fact.body["online"] for fact in fold.step(sample("d", second, error=error))]
        for second, error in enumerate(["", "", "timeout", "timeout", "line-down", "", ""])
    ]
    assert told == [[True], [], [False], [], [], [True], []]
    assert fold.service.summary(fold.rows) == {"online": 1, "offline": 0, "not_heard": 0}


def test_a_state_that_was_kept_is_no_sign_of_life() -> None:
    fold = Fold(Presence())
    kept = msgspec.structs.replace(sample("d", 3, x=1), arrival=Arrival.RETAINED)
    fold.step(sample("d", 1, error="timeout"))
    assert fold.step(kept) == []
    assert not fold.rows["d"].online
    assert fold.step(msgspec.structs.replace(kept, arrival=Arrival.QUEUED)) != []


def test_it_knows_why_and_since_when() -> None:
    fold = Fold(Presence())
    fold.step(sample("d", 7, error="timeout"), sample("d", 9, error="line-down"))
    link = fold.rows["d"]
    assert (link.online, link.error, link.since.mono_ns) == (False, "timeout", 7_000_000_000)


def test_a_device_that_has_never_spoken_is_not_online() -> None:
    fold = Fold(Presence())
    fold.step(adopted(1, "a", "b"))
    fold.step(sample("a"))
    assert fold.service.summary(fold.rows) == {"online": 1, "offline": 0, "not_heard": 1}
    assert device_state(fold.rows, "b") is DeviceState.NOT_HEARD
    # Its first outage is told, as its first reading would be.
    assert [fact.body["online"] for fact in fold.step(sample("b", 9, error="silent"))] == [False]


def test_after_a_restart_nobody_is_online_until_heard() -> None:
    fold = Fold(Presence())
    fold.step(adopted(1, "a", "b"))
    fold.step(sample("a", 1), sample("b", 2, error="timeout"), sample("a", 3))
    fold.restart()
    assert {device_state(fold.rows, name) for name in "ab"} == {DeviceState.NOT_HEARD}
    assert fold.rows["a"].last == at(1)
    # Nothing has changed, so nothing is told again.
    assert fold.step(sample("a", 5000), sample("b", 5000, error="timeout")) == []
    assert device_state(fold.rows, "a") is DeviceState.ONLINE
    assert device_state(fold.rows, "b") is DeviceState.OFFLINE
    assert fold.rows["a"].last == at(5000)


def test_a_message_without_any_value_is_no_good_sample() -> None:
    fold = Fold(Presence())
    fold.step(msgspec.structs.replace(sample("a", 1), bad={"x": "missing"}))
    assert (fold.rows["a"].online, fold.rows["a"].last) == (True, None)


def test_the_last_word_is_stored_once_an_hour() -> None:
    fold = Fold(Presence())
    seen = [
        (fold.step(sample("a", second)) and None) or fold.rows["a"].last for second in (0, 1800, 3599, 3600)
    ]
    assert seen == [at(0), at(0), at(0), at(3600)]
