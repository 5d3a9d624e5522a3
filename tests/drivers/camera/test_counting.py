"""Who crosses a line, drawn from above with the truth known."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest

from drivers.camera.counting import Crossing, PeopleCounter, Zone
from drivers.camera.lines import CountingLine, is_between_ends, is_inside_polygon, signed_distance
from drivers.camera.tracks import MAX_TRACKS
from drivers.camera.vision import Frame
from tests.drivers.camera import scenes, situations
from tests.drivers.camera.picture import Camera
from tests.drivers.camera.stage import FPS, MIDLINE, PERSON, Walker, play, walk


def count(
    frames: Iterable[Frame], *lines: CountingLine, counter: PeopleCounter | None = None
) -> list[Crossing]:
    names = {f"line-{number}": line for number, line in enumerate(lines or [CountingLine(MIDLINE, PERSON)])}
    counter = counter or PeopleCounter("overhead", names)
    found = [crossing for frame in frames for crossing in counter.process_frame(*frame)]
    return sorted([*found, *counter.finish()], key=lambda each: each.time_s)


def count_scene(scene: scenes.Scene, seconds: float) -> list[Crossing]:
    """Who crosses within the first seconds of a rendered scene."""
    (x1, y1), (x2, y2) = scene.line.tolist()
    width, height = scene.person.tolist()
    frames = (Frame(image, n / scene.fps, n) for n, image in enumerate(scene.frames()))
    line = CountingLine(((x1, y1), (x2, y2)), (width, height))
    return count(takewhile(lambda frame: frame.time_s < seconds, frames), line)


def directions(crossings: list[Crossing]) -> list[str]:
    return [each.direction for each in crossings]


def test_somebody_is_counted_when_their_middle_crosses() -> None:
    found = count(play([walk(2, (1.1, 0.5), (-0.1, 0.5)), walk(8, (-0.1, 0.4), (1.1, 0.6))], 13))
    assert directions(found) == ["in", "out"]
    assert [each.time_s for each in found] == pytest.approx([4, 10], abs=0.3)
    assert all(each.frame_number == pytest.approx(each.time_s * FPS) for each in found)
    assert all(each.calibrated for each in found)


@pytest.mark.parametrize("towards", [True, False])
def test_who_walks_towards_a_camera_at_a_slant_or_away_is_one_all_the_way(towards: bool) -> None:
    far, near = (0.5, 0.1), (0.5, 0.75)
    walker = walk(2, far, near, 6) if towards else walk(2, near, far, 6)
    walker.size = lambda y: 2 + 3.5 * (y - 0.5)
    line = CountingLine(((0, 0.5), (1, 0.5)), (2 * PERSON[0], 2 * PERSON[1]))
    counter = PeopleCounter("oblique", {"line": line})
    followed: list[int] = []
    found: list[Crossing] = []
    for frame in play([walker], 10):
        found += counter.process_frame(*frame)
        followed.append(len(counter.boxes))
    assert [each.direction for each in found] == ["in" if towards else "out"]
    assert found[0].time_s == pytest.approx(2 + 6 * (0.615 if towards else 0.385), abs=0.5)
    assert max(followed) == 1


def test_a_line_that_is_drawn_the_other_way_counts_the_other_way() -> None:
    found = count(play([walk(2, (1.1, 0.5), (-0.1, 0.5))], 7), CountingLine(MIDLINE[::-1], PERSON))
    assert directions(found) == ["out"]


def test_two_side_by_side_are_two() -> None:
    pair = [walk(2, (1.1, 0.4), (-0.1, 0.4)), walk(2, (1.1, 0.61), (-0.1, 0.61))]
    assert directions(count(play(pair, 7))) == ["in", "in"]


def test_two_who_meet_on_the_line_go_on_as_they_went() -> None:
    both = [walk(2, (1.1, 0.42), (-0.1, 0.42)), walk(2, (-0.1, 0.58), (1.1, 0.58))]
    assert sorted(directions(count(play(both, 7)))) == ["in", "out"]


def test_whoever_turns_back_before_the_line_is_not_counted() -> None:
    def path(t: float) -> tuple[float, float] | None:
        return (0.6 + abs(t - 4) * 0.25, 0.5) if 1 < t < 7 else None

    assert count(play([Walker(path)], 9)) == []


@pytest.mark.parametrize("turn", [1, -1])
def test_whoever_is_over_the_line_and_back_at_once_is_not_counted(turn: int) -> None:
    """Far enough over to be counted, and back before it is certain."""

    def path(t: float) -> tuple[float, float] | None:
        return (0.5 + turn * (abs(t - 4) * 0.5 - 0.11), 0.5) if 2.5 < t < 5.5 else None

    assert count(play([Walker(path)], 8)) == []


def test_whoever_is_over_the_line_for_longer_came_and_went() -> None:
    def path(t: float) -> tuple[float, float] | None:
        return (0.5 + max(abs(t - 4) * 0.5 - 0.8, -0.2), 0.5) if 1.5 < t < 6.5 else None

    assert directions(count(play([Walker(path)], 9))) == ["in", "out"]


def test_whoever_stands_for_long_and_then_crosses_is_counted_once() -> None:
    def path(t: float) -> tuple[float, float] | None:
        x = 1.1 - 0.3 * (t - 1) if t < 2.5 else 0.65 if t < 15 else 0.65 - 0.3 * (t - 15)
        return (x, 0.5) if t > 1 and x > -0.1 else None

    found = count(play([Walker(path)], 19))
    assert directions(found) == ["in"]
    assert found[0].time_s == pytest.approx(15.5, abs=0.4)


def test_whoever_passes_beyond_the_end_of_a_line_is_not_counted() -> None:
    half = CountingLine(((0.5, 0.0), (0.5, 0.5)), PERSON)
    people = [walk(2, (1.1, 0.8), (-0.1, 0.8)), walk(8, (1.1, 0.25), (-0.1, 0.25))]
    found = count(play(people, 13), half)
    assert [each.time_s for each in found] == pytest.approx([10], abs=0.3)


@pytest.mark.parametrize("ahead", [-0.16, 0.16])
def test_a_shadow_is_nobody(ahead: float) -> None:
    walker = walk(2, (1.2, 0.5), (-0.2, 0.5), 5)
    walker.shadow = (ahead, 0.0)
    assert directions(count(play([walker], 8))) == ["in"]


def test_light_that_goes_on_and_off_is_nobody() -> None:
    assert count(play([], 12, light=lambda t: 0.4 if 4 < t < 8 else 1.0)) == []


def test_people_are_counted_soon_after_the_light_changed() -> None:
    people = [walk(2, (1.1, 0.5), (-0.1, 0.5)), walk(8, (-0.1, 0.5), (1.1, 0.5))]
    found = count(play(people, 13, light=lambda t: 0.5 if t > 7 else 1.0))
    assert directions(found) == ["in", "out"]


@pytest.mark.parametrize("fps", [8, 30])
def test_at_any_frame_rate_light_that_fades_is_nobody(fps: float) -> None:
    people = [walk(2, (1.1, 0.5), (-0.1, 0.5)), walk(8, (-0.1, 0.5), (1.1, 0.5))]
    fading = play(people, 13, light=lambda t: float(np.interp(t, (5, 7), (1, 0.5))), fps=fps)
    assert directions(count(fading)) == ["in", "out"]


def test_who_comes_in_close_to_the_line_is_counted_even_if_the_person_is_drawn_too_large() -> None:
    line = CountingLine(((0.94, 0.0), (0.94, 1.0)), (1.25 * PERSON[0], 1.25 * PERSON[1]))
    assert directions(count(play([walk(1, (1.15, 0.5), (0.2, 0.5))], 6), line)) == ["in"]


def test_who_lies_outwards_far_from_the_middle_of_a_wide_picture_is_one() -> None:
    camera = replace(Camera.overhead(0.1, 2.8), width=320, rows=240)
    walker = scenes.Walker(scenes.walk(0.5, (-1.8, 1.6), (1.8, 1.6)))
    assert directions(count_scene(scenes.Scene(camera, [walker]), 4)) == ["in"]


def test_a_screen_that_flickers_beside_the_line_takes_nobodys_place() -> None:
    assert directions(count_scene(situations.scene("overhead.screen", 1), 7)) == ["out"]


def test_noise_at_night_is_nobody() -> None:
    assert count(play([], 8, light=lambda t: 0.15, noise=8)) == []


def test_each_line_of_a_camera_counts_for_itself() -> None:
    lines = [CountingLine(((x, 0.0), (x, 1.0)), PERSON) for x in (0.7, 0.3)]
    found = count(play([walk(2, (1.1, 0.5), (-0.1, 0.5))], 8), *lines)
    assert [each.line for each in found] == ["line-0", "line-1"]
    assert found[0].time_s < found[1].time_s


def test_a_zone_knows_who_is_in_it_and_how_large_a_person_is() -> None:
    zone = Zone(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), PERSON)
    counter = PeopleCounter("overhead", {}, {"room": zone})
    assert counter.calibrated
    seen = []
    people = [walk(1, (1.1, 0.3), (0.25, 0.3), 3), walk(1.5, (1.1, 0.75), (0.25, 0.75), 3)]
    for frame in play(people, 6):
        counter.process_frame(*frame)
        seen.append(counter.occupancy["room"])
    assert seen[0] == 0
    assert max(seen) == 2


def test_the_size_of_a_person_is_learned_and_until_then_not_claimed() -> None:
    people = [walk(1 + 6 * k, (1.1, 0.5), (-0.1, 0.5)) for k in range(7)]
    counter = PeopleCounter("overhead", {"door": CountingLine(MIDLINE)})
    assert not counter.calibrated
    found = count(play(people, 44), counter=counter)
    assert directions(found) == ["in"] * 7
    assert [each.calibrated for each in found] == [False] * 5 + [True] * 2
    assert counter.calibrated


def test_right_of_a_line_is_right_for_who_looks_along_it() -> None:
    assert signed_distance(MIDLINE, np.array([0.25, 0.5]), np.array([0.25, 1.0])) == pytest.approx(1)
    assert signed_distance(MIDLINE, np.array([0.75, 0.5]), np.array([0.25, 1.0])) == pytest.approx(-1)


def test_what_is_between_the_ends_of_a_line_and_in_a_zone() -> None:
    line = ((0.2, 0.5), (0.8, 0.5))
    unit = np.array([0.1, 0.1])
    assert is_between_ends(line, np.array([0.3, 0.9]), unit)
    assert not is_between_ends(line, np.array([0.9, 0.5]), unit)
    triangle = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    assert is_inside_polygon(np.array([0.2, 0.2]), triangle)
    assert not is_inside_polygon(np.array([0.8, 0.8]), triangle)


def test_rain_is_followed_by_no_more_than_can_be_afforded() -> None:
    counter = PeopleCounter("overhead", {"line": CountingLine(MIDLINE, (0.02, 0.035))})
    random = np.random.default_rng(0)
    most = 0
    for frame in play([], 2):
        drops = random.random(frame.image.shape[:2])[::6, ::6] < 0.1
        wet = np.kron(drops, np.ones((6, 6), bool))[: frame.image.shape[0], : frame.image.shape[1]]
        counter.process_frame(
            np.where(wet[..., None], np.uint8(250), frame.image), frame.time_s, frame.number
        )
        most = max(most, len(counter.boxes))
    assert most == MAX_TRACKS
