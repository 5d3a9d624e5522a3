"""What a person may write of a camera: every mistake is named without a camera, and so is its mend."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from drivers import camera
from drivers.camera import DRIVER, Address, Options
from drivers.camera.messages import (
    MAX_MESSAGE_BYTES,
    HeartbeatMessage,
    StillMessage,
    StillRequest,
    ValuesMessage,
    encode_message,
    receive_message,
)
from gateway.config import Mistakes, Site, load_site
from gateway.model import LinkDown
from tests.drivers.camera.conftest import HEAD

BUS = {"driver": '"camera"', "url": '"rtsp://192.0.2.7/stream2"', "view": '"overhead"'}
LINE = {"profile": '"door-counter/camera-line"', "bus": '"cam"', "line": "[0.1, 0.5, 0.9, 0.5]"}
ZONE = {"profile": '"occupancy/camera-zone"', "bus": '"cam"', "zone": "[[0, 0], [1, 0], [0.5, 1]]"}


def load(folder: Path, bus: dict[str, str], *devices: dict[str, str]) -> Site:
    tables = {"bus.cam": BUS | bus, **{f"device.d{n}": keys for n, keys in enumerate(devices)}}
    text = "".join(
        f"[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value)
        for table, keys in tables.items()
    )
    file = folder / "site.toml"
    file.write_text(HEAD + text, "utf-8")
    return load_site(file)


def mistakes(folder: Path, bus: dict[str, str], *devices: dict[str, str]) -> list[tuple[str, str]]:
    with pytest.raises(Mistakes) as wrong:
        load(folder, bus, *devices)
    for mistake in wrong.value.mistakes:
        assert "?" not in mistake.text("en").removesuffix("?")
    return [(mistake.where, mistake.key) for mistake in wrong.value.mistakes]


def test_lines_and_zones_of_a_camera(tmp_path: Path) -> None:
    site = load(tmp_path, {}, LINE | {"person": "[0.1, 0.3]"}, ZONE, LINE | {"line": "[0, 0, 1, 1]"})
    assert site.devices["d0"].kind == "door-counter"
    assert site.devices["d1"].kind == "occupancy"
    assert site.devices["d0"].points["tamper"].alarm is not None
    assert site.devices["d1"].address.zone == ((0, 0), (1, 0), (0.5, 1))


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("url", '"http://192.0.2.7/"', "camera-url"),
        ("url", '"rtsp://guard:secret@192.0.2.7/"', "camera-url"),
        ("url", '"rtsp://guard@192.0.2.7/"', "camera-url"),
        ("url", '"rtsp:///stream"', "camera-url"),
        ("url", '"concat:/a|/b"', "camera-url"),
        ("url", '""', "camera-url"),
        ("url", '"rtsp://[::1/"', "camera-url"),
        ("url", "3", "value-text"),
        ("view", '"sideways"', "value-choice"),
        ("fps", "0", "camera-fps"),
        ("fps", "nan", "value-not-finite"),
        ("rotate", "45", "value-choice"),
        ("username", '"guard"', "camera-login"),
        ("password_file", '"/nowhere"', "camera-login"),
        ("model", '"/nowhere.onnx"', "camera-model"),
        ("sha256", '"abc"', "camera-sha256"),
        ("stils", "true", "key-unknown"),
    ],
)
def test_a_mistake_in_a_camera(tmp_path: Path, key: str, value: str, error: str) -> None:
    (found,) = mistakes(tmp_path, {key: value}, LINE)
    # Two keys that belong together are told of under one.
    assert found[1] == error
    assert found[0].startswith("bus.cam")


@pytest.mark.parametrize(
    ("device", "key", "value", "error"),
    [
        (LINE, "line", "[0.1, 0.5, 0.1, 0.5]", "line-no-length"),
        (LINE, "line", "[0.1, 0.5, 0.1, 0.501]", "line-no-length"),
        (LINE, "line", "[0.1, 0.5, 0.9, 1.5]", "camera-range"),
        (LINE, "line", "[0.1, 0.5, 0.9, nan]", "value-not-finite"),
        (LINE, "line", "[0.1, 0.5, 0.9]", "value-length"),
        (LINE, "line", '"0.1, 0.5, 0.9, 0.5"', "value-list"),
        (LINE, "line", "", "camera-place"),
        (LINE, "zone", "[[0, 0], [1, 0], [1, 1]]", "camera-place"),
        (LINE, "person", "[0, 0.3]", "camera-person"),
        (LINE, "person", "[0.005, 0.3]", "camera-person"),
        (LINE, "person", "[0.1, inf]", "value-not-finite"),
        (ZONE, "zone", "[[0, 0], [1, 0]]", "camera-zone"),
        (ZONE, "zone", "[[0, 0], [1, 1], [1, 0], [0, 1]]", "camera-zone"),
        (ZONE, "zone", "[[0, 0], [1, 0], [0, 0], [1, 1]]", "camera-zone"),
        (ZONE, "zone", "[[0, 0], [0.5, 0.5], [1, 1]]", "camera-zone"),
        (ZONE, "zone", "[[0, 0], [1, 0], [1, 1], [0.5, 0], [0, 1]]", "camera-zone"),
        (ZONE, "zone", "[[0, 0], [1, 0], [1, 2]]", "camera-range"),
        (ZONE, "zone", "", "camera-place"),
    ],
)
def test_a_mistake_in_a_line_or_a_zone(
    tmp_path: Path, device: dict[str, str], key: str, value: str, error: str
) -> None:
    ((where, found),) = mistakes(tmp_path, {}, device | {key: value})
    assert found == error
    assert where.startswith("device.d0")


def test_a_model_is_used_only_as_it_was_checked(tmp_path: Path) -> None:
    model = tmp_path / "person.onnx"
    model.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    keys = {"model": f'"{model}"', "sha256": f'"{sha256.upper()}"'}
    assert load(tmp_path, keys, LINE)
    model.write_bytes(b"other weights")
    assert mistakes(tmp_path, keys, LINE) == [("bus.cam.sha256", "camera-sha256")]
    assert mistakes(tmp_path, {"model": f'"{model}"'}, LINE) == [("bus.cam.sha256", "camera-sha256")]


def test_without_opencv_the_check_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "find_spec", lambda name: None)
    assert mistakes(tmp_path, {}, LINE) == [("device.d0", "camera-missing")]


def test_a_password_is_read_when_it_is_needed(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    options = Options(
        url="rtsp://192.0.2.7:554/a?b=c", view="overhead", username="us er", password_file=secret
    )
    with pytest.raises(LinkDown, match="secret-missing"):
        camera._url_with_password(options)
    secret.write_text("p@ss/wörd\n")
    secret.chmod(0o644)
    with pytest.raises(LinkDown, match="secret-open"):
        camera._url_with_password(options)
    secret.chmod(0o600)
    assert camera._url_with_password(options) == "rtsp://us%20er:p%40ss%2Fw%C3%B6rd@192.0.2.7:554/a?b=c"


class Fed:
    """A reader of what a process said."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def readexactly(self, size: int) -> bytes:
        part, self._data = self._data[:size], self._data[size:]
        assert len(part) == size
        return part


@pytest.mark.parametrize(
    "told",
    [
        encode_message(StillMessage(b"\xff\xd8" + b"x" * 100)),
        encode_message(ValuesMessage("door", {"in": 1})).replace(b"in", b"ix").replace(b"\x01", b"\xa1"),
        encode_message(StillRequest()),
        (MAX_MESSAGE_BYTES + 1).to_bytes(4) + b"x" * (MAX_MESSAGE_BYTES + 1),
        (3).to_bytes(4) + b"xyz",
        (2**32 - 1).to_bytes(4),
    ],
    ids=["a still unasked", "a text", "a question", "too much", "garbage", "endless"],
)
async def test_a_process_may_say_nothing_but_what_is_written_down(told: bytes) -> None:
    reader: Any = Fed(told)
    with pytest.raises(LinkDown, match="camera-garbled"):
        await receive_message(reader, lambda: False)
    assert (
        await receive_message(Fed(encode_message(HeartbeatMessage())), lambda: False) == HeartbeatMessage()
    )  # type: ignore[arg-type]


def test_what_a_line_says_becomes_its_points() -> None:
    said = DRIVER.parse_example({"says": {"in": 3, "out": 2, "elsewhere": 1}})
    points = {name: camera.CameraPoint(field=name) for name in ("in", "out", "tamper")}
    assert DRIVER.decode(points, said) == {"in": 3, "out": 2}
    with pytest.raises(ValueError, match="says"):
        DRIVER.parse_example({"says": 3})
    assert Address(line=(0, 0, 1, 1)) == Address(line=(0.0, 0.0, 1.0, 1.0))
