from __future__ import annotations

import logging

from gateway.base.log_limit import KIND_LIMIT, REPORT_INTERVAL_S, SOURCE_LIMIT, LogLimit


class Limited:
    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[tuple[str, int]] = []
        self.limit = LogLimit(lambda kind, count: self.told.append((kind, count)), lambda: self.now)

    def passes(self, kind: str, source: str = "", count: int = 1) -> int:
        """How many of that many messages get through."""
        return sum(
            self.limit.filter(logging.makeLogRecord({"kind": kind, "source": source})) for _ in range(count)
        )


def test_a_flood_of_one_source_hides_no_other() -> None:
    log = Limited()
    assert log.passes("refused", "a", 100_000) == SOURCE_LIMIT.events
    assert log.passes("refused", "b") == 1
    assert log.passes("offline", "a") == 1


def test_a_flood_of_many_sources_hides_no_other_kind() -> None:
    log = Limited()
    assert sum(log.passes("refused", str(source)) for source in range(10_000)) == KIND_LIMIT.events
    assert log.passes("offline", "a") == 1


def test_what_was_held_back_is_told_once_a_minute() -> None:
    log = Limited()
    log.passes("refused", "a", SOURCE_LIMIT.events + 7)
    log.limit.report()
    assert log.told == []
    log.now += REPORT_INTERVAL_S
    assert log.passes("offline") == 1
    assert log.told == [("refused", 7)]
    assert log.passes("refused", "a") == 1
    log.limit.report()
    assert log.told == [("refused", 7)]


def test_what_was_held_back_of_several_kinds_is_told_once_each_in_messages_of_their_own() -> None:
    log = Limited()
    tell = log.limit._tell

    def tell_in_the_log(kind: str, count: int) -> None:
        assert log.passes("log-limited") == 1
        tell(kind, count)

    log.limit._tell = tell_in_the_log
    for number in range(5):
        log.passes(f"refused {number}", count=SOURCE_LIMIT.events + 1 + number)
    log.now += REPORT_INTERVAL_S
    log.limit.report()
    assert sorted(log.told) == [(f"refused {number}", 1 + number) for number in range(5)]


def test_a_message_of_a_library_is_known_by_its_place_in_the_code() -> None:
    log = Limited()

    def passes(line: int, count: int) -> int:
        records = ({"name": "uvicorn.error", "lineno": line, "msg": f"{number}"} for number in range(count))
        return sum(log.limit.filter(logging.makeLogRecord(record)) for record in records)

    assert passes(1, 100) == SOURCE_LIMIT.events
    assert passes(2, 3) == 3
