"""Nothing but counts leaves a camera's process: the whole gateway runs, people cross the line before an
unmistakable wall, and then everything that was written, sent or shown is searched for that wall."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.broker import Broker, running
from tests.drivers.camera.conftest import PAIR, children, lives, site
from tests.gateway.simulate.conftest import eventually
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
PIXELS = 24
"""Pixels of a row that nobody else has."""
SIZES = (80, 160, 320, 640)
"""Widths at which the picture might be kept."""
KEY = 16
"""Bytes by which a needle is found."""
MAGICS = (
    b"\xff\xd8\xff[\xdb\xe0\xe1\xfe]",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF8[79]a",
    b"RIFF.{4}(WEBP|AVI )",
    b"\0\0\0[\x14-\x28]ftyp",  # MP4
    b"\0\0\0\x01[\x27\x47\x67][\x42\x4d\x58\x64]",  # H.264: parameters of a stream
    b"/9j/[24]",  # JPEG in base64
    b"iVBORw0KGgo",  # PNG in base64
)
MAGIC = re.compile(b"|".join(MAGICS), re.DOTALL)


@dataclass
class Wall:
    """A texture that the camera sees behind the people, and everything that would give it away."""

    video: Path
    rows: set[bytes] = field(default_factory=set)

    def film(self) -> None:
        """Without loss, so that what is searched for is what the camera's process has in its memory."""
        random = np.random.default_rng(99)
        texture = random.integers(60, 200, (360, 640, 3), dtype=np.uint8)
        writer = cv2.VideoWriter(str(self.video), cv2.VideoWriter.fourcc(*"FFV1"), PAIR.fps, (640, 360))
        assert writer.isOpened()
        for frame in PAIR.frames():
            # People walk in the middle; above and below is the wall, with a grain of its own each time.
            frame[:60], frame[300:] = texture[:60], texture[300:]
            frame[60:300] = frame[60:300] // 2 + texture[60:300] // 4
            writer.write(frame)
            self._learn(frame)
        writer.release()
        data = self.video.read_bytes()
        # The stream itself could be recorded as well.
        self.rows |= {data[at : at + 64] for at in range(4096, len(data) - 64, len(data) // 200)}
        # Not what anybody else may have, such as a row of noughts.
        self.rows = {row for row in self.rows if len(set(row)) > PIXELS // 2}

    def _learn(self, frame: NDArray[np.uint8]) -> None:
        if self.rows:
            return
        for width in SIZES:
            for method in (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST):
                small = cv2.resize(frame, (width, width * 9 // 16), interpolation=method)
                for picture in (small, small[..., ::-1], cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)):
                    for row in (0, 2, len(picture) - 1):
                        for at in (0, width // 2):
                            self.rows.add(picture[row, at : at + PIXELS].tobytes())

    def _needles(self) -> Iterator[bytes]:
        for row in self.rows:
            yield row
            yield row.hex().encode()
            for shift in range(3):
                # Base64 looks different at each of three places: only what is inside is the same.
                text = base64.b64encode(b"\0" * shift + row)
                yield text[4 : len(text) // 4 * 4 - 4]

    def is_in(self, data: bytes) -> bool:
        """Whether a piece of it is in the data, or any picture by its first bytes."""
        keys = {needle[:KEY] for needle in self._needles()}
        return bool(MAGIC.search(data)) or any(data[at : at + KEY] in keys for at in range(len(data)))

    def some(self) -> list[bytes]:
        """A few, for places that are large."""
        return sorted(self.rows)[:: len(self.rows) // 30]


class Gateway:
    """The daemon and its dashboard, with a home, a temporary and a runtime folder of their own."""

    def __init__(self, folder: Path, broker: Broker, wall: Wall) -> None:
        self.folder = folder
        self.web, self.metrics = free_port(), free_port()
        for name in ("home", "tmp", "run"):
            (folder / name).mkdir()
        (folder / "access.key").write_text("the-key-of-this-house\n")
        (folder / "access.key").chmod(0o600)
        self.file = folder / "site.toml"
        self.file.write_text(
            f"""schema = "linli/site/1"
            [site]
            id = "here"
            title = "Here"
            [journal]
            path = "{folder}/journal.db"
            [control]
            socket = "{folder}/run/control.sock"
            [metrics]
            port = {self.metrics}
            [dashboard]
            access = "{folder}/access.key"
            port = {self.web}
            [uplink]
            url = "{broker.url}"
            {site(wall.video)}
            {site(wall.video, "stills = true", "open")}
            """.replace("            ", "").replace("fps = 15", "")
        )
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ, "HOME": f"{self.folder}/home", "TMPDIR": f"{self.folder}/tmp",
            "XDG_RUNTIME_DIR": f"{self.folder}/run", "LINLI_LANG": "en",
        }  # fmt: skip
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "gateway.cli", *arguments, "--config", self.file],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def ask(self, method: str, path: str, body: str = "", port: int = 0) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.web, timeout=10)
        with contextlib.closing(connection):
            headers = {"origin": f"http://127.0.0.1:{self.web}", "cookie": getattr(self, "cookie", "")}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            if cookie := answer.headers["set-cookie"]:
                self.cookie = cookie.partition(";")[0]
            # An event stream has no end: all of a view is in its first part.
            return answer.read1(1 << 20) if path.startswith("/events") else answer.read()

    def up(self) -> bool:
        try:
            self.ask("GET", "/?key=the-key-of-this-house&name=Wang")
        except OSError:
            return False
        return True

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def writable(process: int) -> list[str]:
    """The files that a process has open for writing."""
    files = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{process}/fdinfo/{link.name}").read_text())
            assert flags
            target = os.readlink(link)
            if int(flags[1], 8) & os.O_ACCMODE and target.startswith("/") and target != os.devnull:
                files.append(target)
    return files


def memory(process: int) -> Iterator[bytes]:
    """What a process has written into its memory."""
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", 0) as cells:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found and "[v" not in line:
                start, end = (int(number, 16) for number in found.groups())
                cells.seek(start)
                with contextlib.suppress(OSError):
                    yield cells.read(min(end - start, 64 << 20))


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Wall:
    wall = Wall(tmp_path_factory.mktemp("film") / "wall.avi")
    wall.film()
    return wall


def found(folder: Path, wall: Wall) -> list[str]:
    """The files in which there is something of the wall."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 3
    return [file.name for file in files if wall.is_in(file.read_bytes())]


def test_nothing_but_counts_leaves_the_process(wall: Wall, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        (tmp_path / "broker").mkdir()
        broker = stack.enter_context(running(tmp_path / "broker"))
        heard = tmp_path / "heard.txt"
        with heard.open("wb") as out:
            witness = subprocess.Popen(
                ["mosquitto_sub", "-v", "-q", "1", "-p", str(broker.port), "-t", "#"], stdout=out
            )
        stack.callback(lambda: (witness.kill(), witness.wait()))
        gateway = Gateway(tmp_path, broker, wall)
        stack.callback(gateway.end)
        daemon, _ = gateway.start("run"), gateway.start("dashboard")
        eventually(gateway.up)
        eventually(lambda: b'"crossing"' in heard.read_bytes(), 30)
        (zygote,) = children(daemon.pid)
        cameras = children(zygote)
        assert len(cameras) == 2

        # What is shown: every page, in both languages, its live stream, and the figures.
        shown = tmp_path / "shown"
        shown.mkdir()
        pages = ("", "cameras", "privacy", "safety", "lines", "events?view=cameras.zh")
        for path in (f"/{page}" for page in pages):
            (shown / f"{len(list(shown.iterdir()))}.txt").write_bytes(gateway.ask("GET", path))
        for path in ("/metrics", "/healthz"):
            (shown / f"{path[1:]}.txt").write_bytes(gateway.ask("GET", path, port=gateway.metrics))
        refusal = json.loads(gateway.ask("POST", "/still", '{"camera": "cam"}'))
        assert "stills = true" in refusal["message"]

        # One look, where the site allows it: it is seen, it is on record, and it is nowhere else.
        still = gateway.ask("POST", "/still", '{"camera": "open"}')
        assert wall.is_in(still)
        eventually(lambda: b'"kind":"still"' in heard.read_bytes())
        (looked,) = re.findall(rb'"kind":"still".*?"data":(\{.*?\})', heard.read_bytes())
        assert json.loads(looked) == {"camera": "open", "by": "Wang"}

        for camera in cameras:
            assert writable(camera) == []
            limits = Path(f"/proc/{camera}/limits").read_text()
            assert re.search(r"Max file size +0 +0", limits)
            assert re.search(r"Max core file size +0 +0", limits)
        strays = [file for file in writable(daemon.pid) if not file.startswith(str(tmp_path))]
        assert strays == []
        held = [row for part in memory(daemon.pid) for row in wall.some() if row in part]
        assert held == []

        daemon.send_signal(signal.SIGKILL)
        eventually(lambda: not any(map(lives, [zygote, *cameras])))
    assert (tmp_path / "journal.db").stat().st_size > 4096
    assert found(tmp_path, wall) == []


def test_all_of_it_ends_when_all_are_told_to_at_once_as_systemd_does(wall: Wall, tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    with running(tmp_path / "broker") as broker, contextlib.ExitStack() as stack:
        gateway = Gateway(tmp_path, broker, wall)
        stack.callback(gateway.end)
        for _ in range(4):
            daemon = gateway.start("run")
            eventually(lambda pid=daemon.pid: [c for z in children(pid) if len(c := children(z)) > 1], 30)
            cameras = [camera for zygote in children(daemon.pid) for camera in children(zygote)]
            for process in (*children(daemon.pid), *cameras, daemon.pid):
                os.kill(process, signal.SIGTERM)
            assert daemon.wait(10) == 0


def test_a_leak_would_be_found(wall: Wall, tmp_path: Path) -> None:
    video = cv2.VideoCapture(str(wall.video))
    for _ in range(3):
        good, frame = video.read()
    assert good
    video.release()
    small = cv2.resize(frame, (160, 90), interpolation=cv2.INTER_AREA)
    leaks = {
        "raw": frame.tobytes(),
        "small": small.tobytes(),
        "grey": cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).tobytes(),
        "text": base64.b64encode(b"xy" + small.tobytes()),
        "hex": frame[:2].tobytes().hex().encode(),
        "jpeg": cv2.imencode(".jpg", frame)[1].tobytes(),
        "jpeg-text": base64.b64encode(cv2.imencode(".jpg", frame)[1].tobytes()),
        "png": cv2.imencode(".png", frame)[1].tobytes(),
        "stream": wall.video.read_bytes()[40_000:400_000],
    }
    for name, leak in leaks.items():
        (tmp_path / name).write_bytes(b"some text before" + leak + b"and after")
    (tmp_path / "counts").write_text('{"in": 3, "out": 2}')
    assert sorted(found(tmp_path, wall)) == sorted(leaks)


def test_a_process_that_sees_pictures_can_write_no_file_and_leaves_no_core(tmp_path: Path) -> None:
    code = f"""
import ctypes, os
from drivers.camera import child
report = os.dup(1)
child._restrict_process()
assert ctypes.CDLL(None).prctl(3) == 0  # PR_GET_DUMPABLE
with open({str(tmp_path / "file")!r}, "wb", 0) as file:
    try:
        file.write(b"a picture")
    except OSError as error:
        os.write(report, error.strerror.encode())
"""
    # The answer goes to a pipe, which is no file.
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"File too large"
    assert (tmp_path / "file").read_bytes() == b""
