"""The command line's contract, on a video that is drawn for it."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.drivers.camera.stage import FPS, HEIGHT, PERSON, WIDTH, play, walk

LINE = "0.5,0,0.5,1"
SIZE = ",".join(map(str, PERSON))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody goes in, somebody comes out."""
    path = tmp_path_factory.mktemp("videos") / "door.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for frame in play([walk(2, (1.1, 0.5), (-0.1, 0.5)), walk(7, (-0.1, 0.5), (1.1, 0.5))], 12):
        writer.write(frame.image)
    writer.release()
    return path


def run(*arguments: object, language: str = "en", prelude: str = "") -> subprocess.CompletedProcess[str]:
    code = "import sys; from gateway.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", prelude + code, "count-visitors", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"LANG": {"en": "en_US.UTF-8", "zh": "zh_CN.UTF-8"}[language], "PYTHONUTF8": "1"},
    )


def test_a_crossing_is_a_line_of_json(video: Path) -> None:
    done = run(video, "--line", LINE, "--person", SIZE, "--view", "overhead")
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["direction"] for each in said] == ["in", "out"]
    assert [each["t"] for each in said] == pytest.approx([4, 9], abs=0.3)
    assert [each["frame"] for each in said] == [round(each["t"] * FPS) for each in said]
    assert all(set(each) == {"t", "frame", "direction"} for each in said)


def test_without_the_size_of_a_person_it_claims_no_certainty(video: Path) -> None:
    done = run(video, "--line", LINE, "--view", "overhead")
    assert done.returncode == 0
    assert all(json.loads(line)["calibrated"] is False for line in done.stdout.splitlines())
    assert "--person" in done.stderr


def test_what_was_seen_can_be_shown(video: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown.mp4"
    done = run(video, "--line", LINE, "--person", SIZE, "--view", "overhead", "--show", shown)
    assert done.returncode == 0, done.stderr
    capture = cv2.VideoCapture(str(shown))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12 * FPS
    assert [path.name for path in tmp_path.iterdir()] == ["shown.mp4"]


def test_a_video_that_did_not_fit_on_the_disk_is_told_of(video: Path, tmp_path: Path) -> None:
    full = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
    shown = tmp_path / "shown.mp4"
    arguments = (video, "--line", LINE, "--person", SIZE, "--view", "overhead", "--show", shown)
    done = run(*arguments, prelude=full)
    assert len(done.stdout.splitlines()) == 2, "who was counted was counted"
    assert done.returncode == 1
    assert "disk full" in done.stderr


def test_a_picture_is_no_video(tmp_path: Path) -> None:
    picture = tmp_path / "door.jpg"
    cv2.imwrite(str(picture), next(play([], 1)).image)
    done = run(picture, "--line", LINE, "--view", "overhead")
    assert done.returncode == 1
    assert "cannot be read as a video" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "english", "chinese"),
    [
        (["nowhere.mp4", "--line", LINE], 1, "file not found", "没有这个文件"),
        ([__file__, "--line", LINE], 1, "cannot be read as a video", "无法作为视频读取"),
        (["VIDEO", "--line", "0.5,0.5,0.5,0.5"], 78, "too short", "太短"),
        (["VIDEO", "--line", "0.5,0.5,0.505,0.5"], 78, "too short", "太短"),
        (["VIDEO", "--line", "0.5,0,0.5,1.5"], 2, "4 numbers", "4 个"),
        (["VIDEO", "--line", "0.5,0,0.5"], 2, "4 numbers", "4 个"),
        (["VIDEO", "--line", "0.5,0,nan,1"], 2, "4 numbers", "4 个"),
        (["VIDEO", "--line", LINE, "--person", "0,0.1"], 78, "0.01 and 1", "0.01 到 1"),
        (["VIDEO", "--line", LINE, "--person", "0.001,0.1"], 78, "0.01 and 1", "0.01 到 1"),
        (["VIDEO", "--line", LINE, "--model", "m.onnx"], 78, "SHA-256", "SHA-256"),
        (["VIDEO", "--line", LINE, "--model", "m.onnx", "--sha256", "0"], 78, "cannot be used", "无法使用"),
        (["VIDEO", "--line", LINE, "--show", "/nowhere/a.mp4"], 1, "cannot be written", "无法写入"),
        (["VIDEO", "--line", LINE, "--show", "VIDEO"], 1, "the video to be counted", "就是要统计的视频"),
    ],
)
def test_each_mistake_is_told_with_its_mend(
    video: Path, arguments: list[str], code: int, english: str, chinese: str
) -> None:
    wanted = [str(video) if each == "VIDEO" else each for each in arguments]
    for language, words in (("en", english), ("zh", chinese)):
        done = run(*wanted, "--view", "overhead", language=language)
        assert done.returncode == code
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_without_opencv_it_says_what_to_install(video: Path) -> None:
    missing = "import sys; sys.modules['cv2'] = None; "
    done = run(video, "--line", LINE, "--view", "overhead", prelude=missing)
    assert done.returncode == 1
    assert "linli-gateway[camera]" in done.stderr


def test_without_anywhere_to_print_it_is_no_crash(video: Path) -> None:
    closed = "import sys; sys.stdout = None; "
    done = run(video, "--line", LINE, "--person", SIZE, "--view", "overhead", prelude=closed)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_cut_file_is_counted_as_far_as_it_goes_and_said(video: Path, tmp_path: Path) -> None:
    # An AVI's index is at its end: what is before the cut can be read.
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    for frame in play([walk(2, (1.1, 0.5), (-0.1, 0.5))], 14):
        writer.write(frame.image)
    writer.release()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 5])
    done = run(cut, "--line", LINE, "--person", SIZE, "--view", "overhead")
    assert [json.loads(line)["direction"] for line in done.stdout.splitlines()] == ["in"]
    assert done.returncode == 0, "a header may be wrong; what was counted was counted"
    assert "breaks off" in done.stderr
