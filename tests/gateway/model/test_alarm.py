import pytest

from gateway.model import AlarmSpec, Hazard, Limit, Value


@pytest.mark.parametrize(
    ("value", "was_exceeded", "exceeded"),
    [
        (True, False, True),
        (False, True, False),
        ("on", True, False),
        (8, False, False),
        (8.1, False, True),
        (7.1, True, True),
        (7, True, False),
        (2, False, False),
        (1.9, False, True),
        (2.9, True, True),
        (3, True, False),
    ],
)
def test_a_value_is_out_of_bounds(value: Value, was_exceeded: bool, exceeded: bool) -> None:
    limit = Limit(above=8, below=2, hysteresis=1)
    assert limit.exceeded(value, was_exceeded) is exceeded
    if not was_exceeded:
        assert limit.exceeded(value) is exceeded


def test_without_bounds_no_number_is_out_of_them() -> None:
    assert not Limit().exceeded(1e9)
    assert not Limit(above=8).exceeded(-1e9)
    assert not Limit(below=2).exceeded(1e9)


def test_an_alarm_begins_at_once_and_ends_after_five_seconds_unless_its_profile_says_otherwise() -> None:
    spec = AlarmSpec(hazard=Hazard.FIRE)
    assert (spec.hysteresis, spec.delay, spec.off_delay, spec.while_open) == (0.0, 0.0, 5.0, False)
