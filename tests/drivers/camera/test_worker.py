"""Whatever befalls a camera or its process, the gateway goes on, and nobody is counted twice."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from drivers import camera
from drivers.camera import worker
from drivers.camera import zygote as zygote_module
from gateway.base.clock import SystemClock
from gateway.capabilities.visitors.services import Visitors
from gateway.model import Command, GatewayError
from tests.drivers.camera.conftest import PAIR, Field, Watching, children, lives, site, zygote
from tests.drivers.camera.rtsp import IpCamera


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    return list(PAIR.frames())


def counted(field: Field, device: str) -> tuple[int, int]:
    """Who came and left by the visitor service, from all that the device has said."""
    service, rows = Visitors(field.site.devices), dict[str, Any]()
    came = left = 0
    for sample in field.of(device):
        changes, facts = service.apply(rows, sample)
        rows |= changes
        came += sum(fact.body["in"] for fact in facts if fact.kind == "crossing")
        left += sum(fact.body["out"] for fact in facts if fact.kind == "crossing")
    return came, left


async def test_a_video_is_counted_at_its_own_pace_and_begins_again(watching: Watching, video: Path) -> None:
    async with watching(site(video)) as field:
        first = await field.says("cam-door", **{"in": 0, "out": 0})
        await field.says("cam-door", **{"in": 1, "out": 0})
        left = await field.says("cam-door", **{"in": 1, "out": 1})
        # No faster than people walk.
        assert (left.at.mono_ns - first.at.mono_ns) / 1e9 > 2.5
        assert any(sample.values.get("occupancy") for sample in field.of("cam-hall"))
        await field.says("cam-door", error="camera-ended")
        # It goes on from there.
        await field.says("cam-door", **{"in": 1, "out": 1})
        await field.says("cam-door", **{"in": 2, "out": 1})
        assert counted(field, "cam-door") == (2, 1)
        latest = field.of("cam-door")[-3].values
        assert latest["calibrated"] is True
        assert latest["invalid"] is False
        assert latest["tamper"] is False


async def test_a_killed_process_begins_again_and_the_other_camera_never_knows(
    watching: Watching, video: Path
) -> None:
    async with watching(site(video) + site(video, "fps = 10", "other")) as field:
        for name in ("cam", "other"):
            await field.says(f"{name}-door", **{"in": 1})
        before = len(field.samples)
        assert len(children(zygote())) == 2
        os.kill(children(zygote())[0], signal.SIGKILL)
        # Which camera's it was, numbers do not tell.
        await field.until(lambda: any(s.error == "camera-died" for s in field.samples[before:]))
        struck = {s.device.partition("-")[0] for s in field.samples[before:] if s.error == "camera-died"}
        (name,) = struck
        await field.says(f"{name}-door", **{"in": 1, "out": 0})
        assert len(children(zygote())) == 2
        assert counted(field, f"{name}-door") == (1, 0)
        # Whoever comes next is another one, though the process has counted as many as the one before.
        await field.says(f"{name}-door", **{"in": 2, "out": 0})
        assert counted(field, f"{name}-door") == (2, 0)


@pytest.mark.parametrize("which", ["child", "zygote"])
async def test_a_process_that_stands_still_is_ended(
    watching: Watching, video: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr(worker, "MESSAGE_TIMEOUT_S", 2.0)
    async with watching(site(video)) as field:
        await field.says("cam-door")
        (child,) = children(zygote())
        os.kill(child, signal.SIGSTOP)
        if which == "zygote":
            zygote_module.ZYGOTE._control.settimeout(1.0)
            os.kill(zygote(), signal.SIGSTOP)
        await field.says("cam-door", error="camera-hung")
        assert not lives(child)
        await field.says("cam-door", **{"in": 0})


async def test_all_processes_die_with_the_one_that_they_come_from(watching: Watching, video: Path) -> None:
    async with watching(site(video)) as field:
        await field.says("cam-door")
        old = [zygote(), *children(zygote())]
        os.kill(old[0], signal.SIGKILL)
        await field.says("cam-door", error="camera-died")
        await field.says("cam-door", **{"in": 0})
        assert zygote() != old[0]
        assert not any(map(lives, old))


async def test_a_camera_that_is_given_up_while_it_begins_leaves_nothing_behind(
    watching: Watching, video: Path
) -> None:
    async with watching(site(video)) as field:
        await field.says("cam-door")
        before = children(zygote())
        options, devices = field.site.buses["cam"].options, tuple(field.site.devices.values())
        for turns in range(6):
            beginning = asyncio.create_task(camera.connect(options, devices).__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            beginning.cancel()
            await asyncio.wait([beginning])
        await field.until(lambda: children(zygote()) == before)
        assert not [sample for sample in field.samples if sample.error]


async def test_a_camera_that_is_unplugged_works_when_it_is_back(
    watching: Watching, video: Path, tmp_path: Path
) -> None:
    camera = tmp_path / "camera.mp4"
    async with watching(site(camera)) as field:
        await field.says("cam-door", error="camera-gone")
        camera.symlink_to(video)
        await field.says("cam-door", **{"in": 0})


async def test_a_model_that_is_none_is_told_of(watching: Watching, video: Path, tmp_path: Path) -> None:
    model = tmp_path / "person.onnx"
    model.write_bytes(b"no network")
    sha256 = hashlib.sha256(b"no network").hexdigest()
    async with watching(site(video, f'model = "{model}"\nsha256 = "{sha256}"')) as field:
        await field.says("cam-door", error="model-unreadable")
        model.write_bytes(b"another one")
        await field.says("cam-door", error="model-differs")


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 999, b"\x00" * 9999, bytes(range(256)) * 999])
async def test_garbage_is_no_video(watching: Watching, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "camera.mp4"
    file.write_bytes(content)
    async with watching(site(file)) as field:
        await field.says("cam-door", error="video-unreadable")


async def test_a_device_that_is_no_camera_is_told_of(watching: Watching) -> None:
    async with watching(site("/dev/null")) as field:
        await field.says("cam-door", error="camera-pictureless")


async def test_a_video_that_breaks_off_is_counted_until_there(watching: Watching, tmp_path: Path) -> None:
    whole = tmp_path / "whole.avi"
    PAIR.write(whole)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 5 // 9])
    async with watching(site(cut)) as field:
        await field.says("cam-door", **{"in": 1, "out": 0})
        await field.says("cam-door", error="camera-ended")
        assert counted(field, "cam-door") == (1, 0)


async def test_an_ip_camera_asks_for_its_password_and_nobody_else_hears_it(
    watching: Watching, frames: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    camera = IpCamera(frames, login="guard:s3cret ü/@")
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    caplog.set_level(0)
    try:
        options = f'username = "guard"\npassword_file = "{secret}"\n'
        async with watching(site(camera.url, options)) as field:
            await field.says("cam-door", error="camera-unreadable")
            assert camera.refused
            secret.write_text("s3cret ü/@\n")
            await field.until(lambda: any(s.values.get("in") for s in field.of("cam-door")), 40)
            for process in (os.getpid(), zygote(), *children(zygote())):
                assert b"s3cret" not in Path(f"/proc/{process}/cmdline").read_bytes()
            camera.cut()
            await field.says("cam-door", error="camera-ended")
            await field.says("cam-door", error="")
            camera.close()
            await field.says("cam-door", error="camera-ended")
            await field.says("cam-door", error="camera-unreadable")
            assert "s3cret" not in caplog.text
    finally:
        camera.close()


async def test_a_stream_that_stalls_is_opened_anew(watching: Watching, frames: list[Any]) -> None:
    camera = IpCamera(frames)
    try:
        async with watching(site(camera.url)) as field:
            await field.says("cam-door")
            camera.stall()
            await field.says("cam-door", error="camera-ended")
            camera.stall(False)
            await field.says("cam-door", error="")
    finally:
        camera.close()


async def test_a_camera_that_breaks_off_again_and_again_is_down(
    watching: Watching, frames: list[Any]
) -> None:
    camera = IpCamera(frames, seconds=1.5)
    try:
        async with watching(site(camera.url)) as field:
            for _ in range(3):
                await field.says("cam-door", error="camera-ended")
            assert all(sample.error for sample in field.samples)
    finally:
        camera.close()


async def test_a_camera_that_takes_the_call_and_says_nothing_is_given_up(watching: Watching) -> None:
    camera = IpCamera([], silent=True)
    try:
        async with watching(site(camera.url)) as field:
            await field.says("cam-door", error="camera-unreadable")
    finally:
        camera.close()


async def test_a_still_leaves_only_where_the_site_allows_it(watching: Watching, video: Path) -> None:
    async with watching(site(video, "stills = true") + site(video, "fps = 10", "private")) as field:
        await field.says("cam-door")
        await field.says("private-door")
        stills = await asyncio.gather(*(field.buses["cam"].capture_still() for _ in range(3)))
        assert all(still.startswith(b"\xff\xd8") and still.endswith(b"\xff\xd9") for still in stills)
        with pytest.raises(GatewayError) as refused:
            await field.buses["private"].capture_still()
        assert refused.value.key == "stills-off"
        await field.says("private-door")


async def test_a_person_can_say_that_the_picture_is_right(watching: Watching, video: Path) -> None:
    async with watching(site(video)) as field:
        await field.says("cam-door")
        now = SystemClock().now()
        for action in ("relearn", "dance"):
            until = now.wall_ms + 60_000
            command = Command(
                id=action, at=now, device="cam-door", action=action, expires=until, origin="console"
            )
            if action == "relearn":
                await field.buses["cam"].execute(command)
            else:
                with pytest.raises(GatewayError, match="action-unknown"):
                    await field.buses["cam"].execute(command)


async def test_a_start_that_is_cancelled_before_the_streams_are_open_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached = asyncio.Event()

    async def never(**_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    def pidfds() -> int:
        links = (Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))
        return sum("pidfd" in os.readlink(link) for link in links if link.is_symlink())

    before = pidfds()
    monkeypatch.setattr(asyncio, "open_connection", never)

    async def start() -> None:
        async with worker.running_camera(None):  # type: ignore[arg-type]
            raise AssertionError("it cannot have started")

    starting = asyncio.create_task(start())
    await reached.wait()
    assert pidfds() == before + 1
    starting.cancel()
    await asyncio.wait([starting])
    await asyncio.sleep(0)
    assert pidfds() == before
