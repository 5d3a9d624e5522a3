"""`linli count-visitors`: who crosses a line in a video, one JSON object a crossing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..model import ConfigError, GatewayError
from ..words import preferred, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""

    def word(key: str) -> str:
        return say(preferred(), f"counting.help-{key}")

    parser.add_argument("video", help=word("video"))
    parser.add_argument("--line", required=True, type=_numbers(4), metavar="x1,y1,x2,y2", help=word("line"))
    parser.add_argument("--person", type=_numbers(2), metavar="w,h", help=word("person"))
    parser.add_argument("--view", choices=("overhead", "oblique"), required=True, help=word("view"))
    parser.add_argument("--show", type=Path, metavar="FILE.mp4", help=word("show"))


def run(options: argparse.Namespace) -> None:
    """Print crossings as they become known. Raises `GatewayError`."""
    x1, y1, x2, y2 = options.line
    if (x1, y1) == (x2, y2):
        raise ConfigError("line-no-length")
    if options.person and 0 in options.person:
        raise ConfigError("person-no-size")
    if "://" not in options.video and not Path(options.video).exists():
        raise GatewayError("video-missing", file=options.video)
    try:
        # OpenCV is an extra.
        from drivers.camera import vision  # noqa: PLC0415
        from drivers.camera.counting import Counter, Line  # noqa: PLC0415
    except ImportError as error:
        raise GatewayError("camera-missing", reason=error) from None
    counter = Counter(options.view, {"line": Line(((x1, y1), (x2, y2)), options.person)})
    video = vision.Video(options.video)
    totals = {"in": 0, "out": 0}
    with ExitStack() as stack:
        stack.callback(video.close)
        writer = options.show and stack.enter_context(vision.writing(options.show, vision.FPS))
        for frame in video:
            for each in counter.step(*frame):
                totals[each.direction] += 1
                crossing = {"t": round(each.t, 3), "frame": each.frame, "direction": each.direction}
                print(json.dumps(crossing | ({} if each.calibrated else {"calibrated": False})), flush=True)
            if writer:
                text = f"{frame.t:.1f} s  in {totals['in']}  out {totals['out']}"
                writer.write(frame.image, counter.boxes, [((x1, y1), (x2, y2))], text)


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    def read(text: str) -> tuple[float, ...]:
        try:
            numbers = tuple(float(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != count or not all(0 <= number <= 1 for number in numbers):
            raise argparse.ArgumentTypeError(say(preferred(), "counting.numbers", count=count))
        return numbers

    return read
