from gateway.services.presence import Presence
from tests.gateway.services.kit import Fold, sample


def test_each_going_and_coming_is_told_once() -> None:
    fold = Fold(Presence())
    told = [
        [fact.body["online"] for fact in fold.step(sample("d", second, error=error))]
        for second, error in enumerate(["", "", "timeout", "timeout", "line-down", "", ""])
    ]
    assert told == [[True], [], [False], [], [], [True], []]
    assert fold.service.summary(fold.rows) == {"online": 1, "offline": 0}


def test_it_knows_why_and_since_when() -> None:
    fold = Fold(Presence())
    fold.step(sample("d", 7, error="timeout"), sample("d", 9, error="line-down"))
    link = fold.rows["d"]
    assert (link.online, link.error, link.since.mono_ns) == (False, "timeout", 7_000_000_000)
