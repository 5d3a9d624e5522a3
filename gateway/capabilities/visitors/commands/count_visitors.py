"""`linli count-visitors`: counts people who cross a line in a video, one JSON object per crossing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.model import ConfigError, GatewayError
from gateway.words import preferred_language, translate

if TYPE_CHECKING:
    from drivers.camera.counting import Crossing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""

    def help_text(key: str) -> str:
        return translate(preferred_language(), f"counting.help-{key}")

    parser.add_argument("video", help=help_text("video"))
    parser.add_argument(
        "--line", required=True, type=_parse_shares(4), metavar="x1,y1,x2,y2", help=help_text("line")
    )
    parser.add_argument("--person", type=_parse_shares(2), metavar="w,h", help=help_text("person"))
    parser.add_argument("--view", choices=("overhead", "oblique"), required=True, help=help_text("view"))
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help=help_text("model"))
    parser.add_argument("--sha256", help=help_text("sha256"))
    parser.add_argument("--show", type=Path, metavar="FILE.mp4", help=help_text("show"))


def run(options: argparse.Namespace) -> None:
    """Print crossings as they become known. Raises `GatewayError`."""
    # Only entry points may import drivers.
    from drivers.camera import is_valid_line, is_valid_person_size  # noqa: PLC0415

    ends = options.line[:2], options.line[2:]
    if not is_valid_line(options.line):
        raise ConfigError("line-no-length")
    if not is_valid_person_size(options.person):
        raise ConfigError("camera-person")
    if options.model and not options.sha256:
        raise ConfigError("model-sum-missing", file=options.model)
    if "://" not in options.video:
        if not Path(options.video).exists():
            raise GatewayError("video-missing", file=options.video)
        if options.show and options.show.exists() and options.show.samefile(options.video):
            raise GatewayError("show-onto-video", file=options.show)
    try:
        # OpenCV is an extra.
        from drivers.camera import capture, vision  # noqa: PLC0415
        from drivers.camera.counting import CountingLine, PeopleCounter  # noqa: PLC0415
    except ImportError as error:
        raise GatewayError("camera-missing", reason=error) from None
    detector = vision.Detector(options.model, options.sha256) if options.model else None
    counter = PeopleCounter(options.view, {"line": CountingLine(ends, options.person)}, detector=detector)
    totals = {"in": 0, "out": 0}
    with ExitStack() as stack:
        video = stack.enter_context(capture.VideoSource(options.video))
        writer = options.show and stack.enter_context(vision.annotated_video(options.show, vision.MAX_FPS))
        for frame in video:
            _print_crossings(counter.process_frame(*frame), totals)
            if writer:
                text = f"{frame.time_s:.1f} s  in {totals['in']}  out {totals['out']}"
                writer.write(frame.image, counter.boxes, [ends], text)
        _print_crossings(counter.finish(), totals)
    if video.frames_read < 2:  # A picture is read as a video of one frame.
        raise capture.unreadable_error(options.video)
    if not counter.calibrated:
        print(translate(preferred_language(), "counting.uncalibrated"), file=sys.stderr)
    if video.frames_read < video.frames * 0.95:
        # The header may be wrong, so this is only a warning.
        facts = {"file": options.video, "seen": video.frames_read, "frames": video.frames}
        print(translate(preferred_language(), "counting.cut", **facts), file=sys.stderr)


def _print_crossings(crossings: Iterable[Crossing], totals: dict[str, int]) -> None:
    for each in crossings:
        totals[each.direction] += 1
        crossing = {"t": round(each.time_s, 3), "frame": each.frame_number, "direction": each.direction}
        print(json.dumps(crossing | ({} if each.calibrated else {"calibrated": False})), flush=True)


def _parse_shares(count: int) -> Callable[[str], tuple[float, ...]]:
    def read(text: str) -> tuple[float, ...]:
        try:
            numbers = tuple(float(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != count or not all(0 <= number <= 1 for number in numbers):
            raise argparse.ArgumentTypeError(
                translate(preferred_language(), "counting.numbers", count=count)
            )
        return numbers

    return read
