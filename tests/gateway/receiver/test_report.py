"""What is missing, and why: from rows as the database gives them."""

from gateway.receiver.report import (
    Gap,
    Hole,
    LedgerLine,
    Missing,
    Stored,
    StoredCount,
    Stream,
    make_reports,
)

STREAM = Stream("s", "e1", "d", "telemetry")
DAY = "2026-11-20"


def line(
    *, delivered: int = 0, pending: int = 0, last_seq: int = 0, is_replaced: bool = False, day: str = DAY,
    dropped: dict[str, int] | None = None, gaps: list[tuple[int, int, str]] | None = None,
) -> LedgerLine:  # fmt: skip
    return LedgerLine(STREAM, day, delivered, pending, dropped or {}, gaps or [], last_seq, is_replaced)


def missing(
    *, stored: int = 5, holes: tuple[tuple[int, int], ...] = (), gaps: tuple[Gap, ...] = (),
    ledger: tuple[LedgerLine, ...] = (),
) -> list[tuple[int, int, str]]:  # fmt: skip
    found = [Hole(STREAM, DAY, first, last) for first, last in holes]
    (report,) = make_reports(
        Stored([StoredCount(STREAM, DAY, stored)], found, list(gaps), list(ledger), (DAY, DAY))
    )
    assert report.records == stored
    return [(each.first, each.last, each.reason) for each in report.missing]


def gap(first: int, last: int, reason: str = "space", lost: int | None = None) -> Gap:
    return Gap(STREAM, first, last, reason, lost)


def test_nothing_is_missing() -> None:
    assert missing(ledger=(line(delivered=5, last_seq=5),)) == []


def test_a_hole_is_unexplained_until_somebody_explains_it() -> None:
    assert missing(holes=((3, 4),)) == [(3, 4, "")]
    assert missing(holes=((3, 4),), gaps=(gap(3, 4),)) == [(3, 4, "space")]
    assert missing(holes=((3, 4),), ledger=(line(dropped={"disk": 2}, gaps=[(3, 4, "disk")]),)) == [
        (3, 4, "disk")
    ]


def test_a_hole_that_is_explained_in_part_has_several_pieces_the_unexplained_first() -> None:
    found = missing(holes=((1, 10),), gaps=(gap(3, 4), gap(8, 8, "disk"), gap(20, 30)))
    assert found == [(1, 2, ""), (5, 7, ""), (9, 10, ""), (3, 4, "space"), (8, 8, "disk")]


def test_a_gap_that_names_more_numbers_than_were_lost_explains_no_more_than_those() -> None:
    assert missing(holes=((1, 6),), gaps=(gap(1, 100, "thinned", 4),)) == [(5, 6, ""), (1, 4, "thinned")]
    wide = line(dropped={"thinned": 5}, gaps=[(1, 100, "thinned")])
    assert missing(holes=((1, 6),), ledger=(wide,)) == [(6, 6, ""), (1, 5, "thinned")]


def test_the_ledger_and_the_gap_records_say_the_same_and_count_once() -> None:
    same = line(dropped={"space": 2}, gaps=[(3, 4, "space")])
    assert missing(holes=((3, 4), (7, 8)), gaps=(gap(3, 4),), ledger=(same,)) == [
        (7, 8, ""),
        (3, 4, "space"),
    ]


def test_very_many_holes_and_gaps_take_no_very_long_time() -> None:
    number = 20_000
    holes = tuple((10 * each + 1, 10 * each + 5) for each in range(number))
    gaps = tuple(gap(10 * each + 2, 10 * each + 5) for each in range(number))
    wide = (gap(1, 10 * number, "thinned", 7), gap(1, 10 * number, "thinned", 0)) * 1000
    found = missing(holes=holes, gaps=(*gaps, *wide))
    assert sum(last - first + 1 for first, last, reason in found if reason == "space") == 4 * number
    assert sum(reason == "thinned" for _, _, reason in found) == 7000
    assert sum(not reason for _, _, reason in found) == number - 7000


def test_how_many_numbers_a_power_cut_cost_nobody_knows() -> None:
    assert missing(holes=((3, 9),), gaps=(gap(1, 64, "restart", 0),)) == [(3, 9, "restart")]
    assert missing(holes=((3, 9),), gaps=(gap(1, 64, "damaged", 0),)) == [(3, 9, "damaged")]


def test_what_is_called_delivered_must_be_here() -> None:
    assert missing(ledger=(line(delivered=7, last_seq=5),)) == [(6, 7, "")]
    # The ledger of an hour ago.
    assert missing(ledger=(line(delivered=3, pending=1, last_seq=5),)) == []
    # The same records are not missing twice.
    assert missing(holes=((2, 3),), ledger=(line(delivered=7, last_seq=7),)) == [(2, 3, "")]


def test_what_an_ended_journal_had_not_sent_is_lost() -> None:
    ended = line(delivered=4, pending=3, last_seq=5, is_replaced=True)
    assert missing(ledger=(ended,)) == [(6, 7, "replaced")]
    assert missing(stored=7, ledger=(ended,)) == []


def test_a_ledger_of_another_day_explains_holes_but_demands_nothing() -> None:
    other = line(day="2026-11-19", delivered=99, dropped={"space": 1}, gaps=[(2, 2, "space")])
    assert missing(holes=((2, 2),), ledger=(other,)) == [(2, 2, "space")]


def test_one_report_for_each_site_and_day() -> None:
    other = Stream("t", "e1", "d", "alarm")
    counts = [StoredCount(STREAM, DAY, 1), StoredCount(other, DAY, 2), StoredCount(other, "2026-11-21", 3)]
    reports = make_reports(Stored(counts, [Hole(other, DAY, 4, 4)], [], [], (DAY, "2026-11-21")))
    assert [(each.site, each.day, each.records, each.unexplained) for each in reports] == [
        ("s", DAY, 1, 0), ("t", DAY, 2, 1), ("t", "2026-11-21", 3, 0)
    ]  # fmt: skip
    assert reports[1].missing == [Missing("e1", "d", "alarm", 4, 4, "")]
