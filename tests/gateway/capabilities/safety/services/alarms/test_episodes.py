"""Episodes of alarms, from the records that the service itself makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.capabilities.safety.services.alarms import Alarm, Safety, rule_of_point
from gateway.capabilities.safety.services.alarms.episodes import AlarmEpisode, EpisodeCollector
from gateway.model import (
    AlarmSpec,
    ClockQuality,
    Command,
    ConfigurationAdopted,
    Hazard,
    Lane,
    Message,
    Record,
    Revision,
    Sample,
    Stamp,
    Tick,
)

START = 1_796_097_600_000
SMOKE = rule_of_point("smoke", "smoke", AlarmSpec(hazard=Hazard.FIRE, off_delay=0))
WATER = rule_of_point("water", "water", AlarmSpec(hazard=Hazard.WATER, off_delay=0))
Step = tuple[float, str] | tuple[float, str, str]


def stamp(second: float) -> Stamp:
    return Stamp(START + round(second * 1000), round(second * 1e9), "boot", ClockQuality.SYNCED)


class Alarms:
    """The alarm service, and the records of its facts."""

    def __init__(self) -> None:
        self.service = Safety({}, [SMOKE, WATER])
        self.rows: dict[str, Any] = {}
        self.records: list[Record] = []

    def message(self, message: Message) -> None:
        changes, facts = self.service.apply(self.rows, message)
        rows = {**self.rows, **changes}
        self.rows = {key: row for key, row in rows.items() if row is not None}
        for fact in facts:
            self.records.append(
                Record(fact.lane, fact.device, len(self.records) + 1, fact.kind, fact.at, fact.body)
            )

    def do(self, second: float, step: str, device: str = "smoke") -> None:
        at = stamp(second)
        if step in ("on", "off"):
            self.message(Sample(device, at, {device: step == "on"}))
            self.message(Tick(at, "2026-12-01"))
        elif step == "forget":
            self.service = Safety({}, [])
            self.message(ConfigurationAdopted(Revision(2, "", at, "start"), at, frozenset()))
        else:
            args: dict[str, Any] = {"why": "x"} if step in ("shelve", "disable") else {}
            if step in ("acknowledge", "reset", "shelve"):
                row: Alarm = next(row for row in self.rows.values() if row.device in (device, "gateway"))
                args["alarm"] = row.id
            self.message(
                Command(
                    id=str(second), at=at, device=device, action=step, args=args, expires=at.wall_ms + 1,
                    origin="console", by="王芳",
                )
            )  # fmt: skip

    def episodes(self) -> list[AlarmEpisode]:
        """Oldest first."""
        collector = EpisodeCollector({row.id for row in self.rows.values()}, lambda at: at)
        found = [
            collector.add_record((number, 0), record)
            for number, record in reversed(list(enumerate(self.records, 1)))
        ]
        return [episode for episode in reversed(found) if episode]


def seconds(episode: AlarmEpisode) -> tuple[float | None, float | None, float | None]:
    """When it was acknowledged, cleared and ended."""
    moments = (episode.acknowledged, episode.cleared, episode.ended)
    first, second, third = (moment and moment.seconds for moment in moments)
    return first, second, third


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # It stands: nobody has come, somebody has come, it is only over.
        ([(0, "on")], [((None, None, None), "")]),
        ([(0, "on"), (30, "acknowledge")], [((30, None, None), "")]),
        ([(0, "on"), (40, "off")], [((None, 40, None), "")]),
        # Fire latches until it is reset, whatever came first.
        ([(0, "on"), (30, "acknowledge"), (90, "off"), (300, "reset")], [((30, 90, 300), "reset")]),
        ([(0, "on"), (90, "off"), (95, "acknowledge"), (300, "reset")], [((95, 90, 300), "reset")]),
        # It came again before anybody had come: one alarm, gone when it was gone last.
        ([(0, "on"), (9, "off"), (20, "on"), (50, "off")], [((None, 50, None), "")]),
        ([(0, "on"), (9, "off"), (20, "on")], [((None, None, None), "")]),
        # It came again before it was reset: two alarms.
        (
            [(0, "on"), (5, "acknowledge"), (10, "off"), (60, "on")],
            [((5, 10, 60), "raised-again"), ((None, None, None), "")],
        ),
        # Shelving and muting change nothing about that.
        ([(0, "on"), (5, "acknowledge"), (6, "shelve"), (7, "mute")], [((5, None, None), "")]),
        ([(0, "on"), (40, "disable")], [((None, None, 40), "disabled")]),
        ([(0, "on"), (40, "forget")], [((None, None, 40), "removed")]),
        # A test raises no alarm; what still holds at its end does.
        ([(0, "test"), (5, "on"), (9, "off"), (10, "end-test")], []),
        ([(0, "test"), (5, "on"), (10, "end-test")], [((None, None, None), "")]),
    ],
)
def test_an_episode_tells_when_it_was_acknowledged_cleared_and_ended(
    steps: Sequence[Step], expected: list[Any]
) -> None:
    alarms = Alarms()
    for step in steps:
        alarms.do(*step)
    assert [(seconds(each), each.how) for each in alarms.episodes()] == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, "on"), (30, "acknowledge"), (90, "off")], ((30, 90, 90), "cleared")),
        ([(0, "on"), (90, "off"), (95, "acknowledge")], ((95, 90, 95), "acknowledged")),
    ],
)
def test_what_does_not_latch_ends_by_itself_or_with_the_acknowledgement(
    steps: Sequence[Step], expected: object
) -> None:
    alarms = Alarms()
    for second, step, *_ in steps:
        alarms.do(second, step, "water")
    (episode,) = alarms.episodes()
    assert (seconds(episode), episode.how) == expected
    assert episode.ended
    assert episode.ended.by == ("王芳" if episode.how == "acknowledged" else "")


def test_a_drill_is_one_and_ends_with_a_reset_in_any_state() -> None:
    alarms = Alarms()
    alarms.do(0, "drill", "gateway")
    alarms.do(60, "reset", "gateway")
    (episode,) = alarms.episodes()
    assert (episode.drill, episode.by, episode.how) == (True, "王芳", "reset")
    assert seconds(episode) == (None, None, 60)


def test_two_alarms_at_once_are_told_apart() -> None:
    alarms = Alarms()
    for step in ((0, "on"), (1, "on", "water"), (5, "off", "water"), (6, "acknowledge", "water")):
        alarms.do(*step)
    fire, water = alarms.episodes()
    assert (fire.device, fire.how, water.device, water.how) == ("smoke", "", "water", "acknowledged")


def test_an_alarm_whose_end_was_lost_does_not_seem_to_stand() -> None:
    alarms = Alarms()
    alarms.do(0, "on")
    alarms.rows = {}
    (episode,) = alarms.episodes()
    assert episode.how == "lost"


def test_a_lost_end_is_no_second_alarm() -> None:
    alarms = Alarms()
    for step in ((0, "on"), (5, "acknowledge"), (10, "off"), (20, "reset"), (60, "on")):
        alarms.do(*step)
    del alarms.records[3]  # the reset
    assert [each.how for each in alarms.episodes()] == ["raised-again", ""]
    del alarms.records[2]  # that it was over, too
    assert [each.how for each in alarms.episodes()] == ["lost", ""]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"change": "raised"},
        {"id": 3, "change": "closed", "mode": ""},
        {"id": "a/b/1", "change": "raised", "point": "b", "hazard": "flood", "raised": START},
        {"id": "a/b/1", "change": "raised", "point": "b", "hazard": "fire", "raised": START, "value": [1]},
        {"id": "a/b/1", "change": "raised", "point": None, "hazard": "fire", "raised": START},
    ],
)
def test_records_that_are_not_as_they_should_be_are_left_out(body: dict[str, Any]) -> None:
    record = Record(Lane.ALARM, "x", 1, "alarm", stamp(0), body)
    assert EpisodeCollector((), lambda at: at).add_record((1, 0), record) is None


def test_a_record_needs_no_more_than_what_an_episode_is_made_of() -> None:
    body = {"id": "a/b/1", "change": "raised", "point": "b", "hazard": "fire", "raised": START}
    record = Record(Lane.ALARM, "a", 1, "alarm", stamp(0), body)
    episode = EpisodeCollector((), lambda at: at).add_record((1, 0), record)
    assert episode
    assert (episode.rule, episode.drill, episode.by) == ("a/b", False, "")
