from msgspec.structs import replace

from gateway.capabilities.safety.replay import TIME_STEP_MS, RuleReplay, sample_of_record
from gateway.capabilities.safety.services.alarms import Rule, RuleCondition
from gateway.model import Hazard, Lane, Record, Sample
from tests.gateway.services.kit import at, sample


def a_rule(condition: RuleCondition, delay: float = 0.0) -> Rule:
    return Rule(
        id="rule/warm", device="f", point="warm", hazard=Hazard.FOOD, conditions=(condition,),
        on_delay_s=delay, off_delay_s=0.0, latching=False,
    )  # fmt: skip


def replay(rule: Rule, *history: Sample) -> list[tuple[float, float | None]]:
    replayed = RuleReplay([rule], lambda _: None)
    for each in history:
        replayed.process_sample(each)
    zero = at(0).wall_ms
    return [
        ((alarm.began - zero) / 1000, alarm.ended and (alarm.ended - zero) / 1000)
        for alarm in replayed.alarms
    ]


WARM = RuleCondition(point="f.t", above=8, hysteresis=1)


def test_each_time_it_would_have_held() -> None:
    history = [sample("f", 60 * n, t=t) for n, t in enumerate([5, 9, 9, 6, 5, 12])]
    assert replay(a_rule(WARM), *history) == [(60, 180), (300, None)]


def test_a_delay_passes_between_two_readings() -> None:
    history = [sample("f", 0, t=9.0), sample("f", 3600, t=5.0)]
    ((began, ended),) = replay(a_rule(WARM, delay=600), *history)
    assert 600 <= began <= 600 + TIME_STEP_MS / 1000
    assert ended == 3600


def test_a_silence_is_seen_though_nothing_was_read() -> None:
    history = [sample("f", 0, t=5.0), sample("f", 7200, t=5.0)]
    ((began, ended),) = replay(a_rule(RuleCondition(point="f.t", missing=1800)), *history)
    assert 1800 <= began <= 1800 + TIME_STEP_MS / 1000
    assert ended == 7200


def test_a_restart_in_between_does_not_matter() -> None:
    later = Sample("f", replace(at(600, boot="next"), mono_ns=5), {"t": 9.5})
    assert replay(a_rule(WARM, delay=300), sample("f", 0, t=9.0), later) == [(300, None)]


def test_only_readings_are_replayed() -> None:
    body = {"quality": "good", "values": {"t": 1.0}}
    assert sample_of_record(Record(Lane.TELEMETRY, "f", 1, "sample", at(0), body)) == sample("f", 0, t=1.0)
    assert sample_of_record(Record(Lane.TELEMETRY, "f", 1, "gap", at(0), {})) is None
