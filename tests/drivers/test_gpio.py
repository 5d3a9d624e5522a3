from __future__ import annotations

import asyncio
import errno
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gpio import Options, PinPoint, PinStates, connect, decode, format_reading, parse_example
from gateway.config import Mistakes, load_site
from gateway.journal import JournalReader
from gateway.model import Lane, LinkDown
from tests.drivers.conftest import FOREIGN
from tests.drivers.gpiochip import GpioChip
from tests.gateway.simulate.conftest import eventually
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
CALL, SOS, OUTER, INNER, SIREN, STROBE = 17, 27, 5, 6, 22, 23
NAMES = [f"GPIO{n}" for n in range(28)]

SITE = """
schema = "linli/site/1"
[site]
id = "here"
title = "Here"
[bus.pins]
driver = "gpio"
chip = "pinctrl-test"
"""
CALL_POINT = """
[device.call]
profile = "call-point/generic-gpio"
bus = "pins"
lines = { pressed = 17 }
every = 0.5
"""
BUTTON = """
[device.button]
profile = "sos/generic-gpio"
bus = "pins"
lines = { sos = "GPIO27" }
every = 3600
"""
DOOR = """
[device.door]
profile = "door-counter/generic-gpio-beams"
bus = "pins"
lines = { outer = 5, inner = 6 }
every = 3600
"""
HORN = """
[device.horn]
profile = "siren/generic-gpio-strobe"
bus = "pins"
lines = { siren = 22, strobe = 23 }
every = 0.5
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What makes a process see our chip."""
    library = tmp_path_factory.mktemp("foreign") / "gpiochip.so"
    flags = ["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-ldl"]
    subprocess.run(["gcc", "-o", library, FOREIGN / "gpiochip.c", *flags], check=True)
    return library


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[GpioChip]:
    new = GpioChip(tmp_path, NAMES)
    yield new
    new.close()


class Field:
    """The buses of a site on the chip, and what they said."""

    def __init__(self, site: Path, environment: dict[str, str]) -> None:
        self._log = site.with_suffix(".log").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.drivers.field", site],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True,
        )  # fmt: skip
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._said.put(json.loads(line))

    def until(self, true: Callable[[dict[str, Any]], Any], seconds: float = 15) -> list[dict[str, Any]]:
        """What is said until something is true of it, that included."""
        heard: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while True:
            try:
                heard.append(self._said.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError((heard, self.log)) from None
            if true(heard[-1]):
                return heard

    def hear(self, device: str, **values: object) -> list[dict[str, Any]]:
        """Until that device has these values; what it said."""
        heard = self.until(
            lambda said: said.get("device") == device and values.items() <= said["values"].items()
        )
        return [said["values"] for said in heard if said.get("device") == device]

    def fail(self, device: str, error: str) -> None:
        """Until that device has this error."""
        self.until(lambda said: (said.get("device"), said.get("error")) == (device, error))

    def tell(self, device: str, action: str) -> str:
        """How a command ended: empty when it was done."""
        assert self.process.stdin
        self.process.stdin.write(f"{device} {action}\n")
        self.process.stdin.flush()
        ended = self.until(lambda said: said.get("action") == action)[-1]["error"]
        assert isinstance(ended, str)
        return ended

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def end(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        code = self.process.wait(15)
        self._reader.join()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for file in (self.process.stdin, self.process.stdout, self._log):
            assert file
            file.close()


Start = Callable[..., Field]


@pytest.fixture
def environment(chip: GpioChip, shim: Path) -> dict[str, str]:
    return {**os.environ, **chip.environment, "LD_PRELOAD": str(shim), "LINLI_LANG": "en"}


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    fields: list[Field] = []

    def start(*devices: str, bus: str = SITE) -> Field:
        site = tmp_path / f"site{len(fields)}.toml"
        site.write_text(bus + "".join(devices))
        fields.append(Field(site, environment))
        return fields[-1]

    yield start
    for field in fields:
        field.kill()


def test_a_pulse_shorter_than_a_poll_is_not_missed(chip: GpioChip, start: Start) -> None:
    field = start(BUTTON)
    field.hear("button", sos=False)
    chip.drive(SOS, False)
    assert field.hear("button", sos=True) == [{"sos": True}]
    chip.drive(SOS, None)
    assert field.hear("button", sos=False) == [{"sos": False}]


def test_what_the_kernel_is_asked_for(chip: GpioChip, start: Start) -> None:
    """Two models on one chip, each wired in its own way."""
    field = start(BUTTON.replace("3600", "0.5"), DOOR.replace("3600", "0.5"), HORN)
    for device in ("button", "door", "horn"):
        field.hear(device)
    button, beam, relay = (chip.lines[line] for line in (SOS, OUTER, SIREN))
    assert (button.consumer, button.debounce, beam.debounce) == ("linli button", 0.03, 0.01)
    assert button.flags == 0b1_0011_0111  # used, active low, input, both edges, pull-up
    assert relay.flags == 0b1001  # used, output


def test_contacts_that_bounce_are_pressed_once(chip: GpioChip, start: Start) -> None:
    field = start(BUTTON)
    field.hear("button")
    for level in (False, True, False, True, False):
        chip.drive(SOS, level)
    assert field.hear("button", sos=True) == [{"sos": True}]
    for level in (True, False, True):
        chip.drive(SOS, level)
    assert field.hear("button", sos=False) == [{"sos": False}]


def test_what_was_pressed_before_the_start_is_an_alarm(chip: GpioChip, start: Start) -> None:
    chip.drive(CALL, False)
    assert start(CALL_POINT).hear("call", pressed=True) == [{"pressed": True}]


def test_a_contact_that_opens_in_an_alarm(chip: GpioChip, start: Start) -> None:
    chip.drive(CALL, False)
    field = start(CALL_POINT + "active_low = false\n")
    field.hear("call", pressed=False)
    chip.drive(CALL, None)
    field.hear("call", pressed=True)


def test_bias_may_be_left_to_the_board(chip: GpioChip, start: Start) -> None:
    start(CALL_POINT + 'bias = "disabled"\n').hear("call", pressed=True)


def walk(chip: GpioChip, *offsets: int) -> None:
    """Break and free beams in this order, each for as long as the kernel debounces."""
    for offset in offsets:
        chip.drive(offset, not chip.level(offset))
        while chip.lines[offset].stable != chip.level(offset):
            time.sleep(0.001)


def test_who_comes_in_and_who_goes_out(chip: GpioChip, start: Start) -> None:
    field = start(DOOR)
    field.hear("door")
    for _ in range(3):
        walk(chip, OUTER, INNER, OUTER, INNER)
    walk(chip, INNER, OUTER, INNER, OUTER)
    walk(chip, OUTER, INNER, INNER, OUTER)
    told = field.hear("door", **{"in": 3, "out": 1, "outer": False, "inner": False})
    assert [(say["in"], say["out"]) for say in told if not say["outer"] and not say["inner"]][:4] == [
        (1, 0), (2, 0), (3, 0), (3, 1),
    ]  # fmt: skip


def test_every_pulse_counts_while_nobody_reads_them(chip: GpioChip, start: Start) -> None:
    """The kernel keeps them for a gateway that is busy."""
    lanes = DOOR.replace("gpio-beams", "gpio-lanes").replace("outer", "way_in").replace("inner", "way_out")
    field = start(lanes)
    field.hear("door")
    field.process.send_signal(signal.SIGSTOP)
    for _ in range(20):
        walk(chip, OUTER, OUTER)
    field.process.send_signal(signal.SIGCONT)
    field.hear("door", **{"in": 20, "out": 0, "way_in": False})


def test_a_relay_obeys_and_is_read_back(chip: GpioChip, start: Start) -> None:
    field = start(HORN)
    field.hear("horn", siren=False, strobe=False)
    assert field.tell("horn", "siren-on") == ""
    assert (chip.level(SIREN), chip.level(STROBE)) == (True, True)
    assert field.tell("horn", "siren-mute") == ""
    assert (chip.level(SIREN), chip.level(STROBE)) == (False, True)
    field.hear("horn", siren=False, strobe=True)
    assert field.tell("horn", "sing") == "action-unknown"


def test_a_relay_that_is_on_while_low(chip: GpioChip, start: Start) -> None:
    field = start(HORN + "active_low = true\n")
    field.hear("horn", siren=False)
    assert (chip.level(SIREN), chip.level(STROBE)) == (True, True)
    assert field.tell("horn", "siren-on") == ""
    assert (chip.level(SIREN), chip.level(STROBE)) == (False, False)
    field.hear("horn", siren=True)


def test_outputs_are_safe_at_the_start_and_at_the_end(chip: GpioChip, start: Start) -> None:
    chip.lines[SIREN].output = True
    chip.lines[SIREN].flags = 1 << 3
    assert chip.level(SIREN)
    field = start(HORN)
    field.hear("horn", siren=False)
    assert not chip.level(SIREN)
    assert field.tell("horn", "siren-on") == ""
    assert chip.level(SIREN)
    assert field.end() == 0
    assert not chip.level(SIREN)
    assert not chip.level(STROBE)


def test_safe_may_be_on(chip: GpioChip, start: Start, tmp_path: Path) -> None:
    own = tmp_path / "profiles" / "door-release"
    own.mkdir(parents=True)
    text = (ROOT / "config/profiles/door-release/generic-gpio.toml").read_text("utf-8")
    (own / "free.toml").write_text(text.replace("safe = false", "safe = true"), "utf-8")
    field = start('[device.gate]\nprofile = "door-release/free"\nbus = "pins"\nlines = { released = 22 }\n')
    field.hear("gate", released=True)
    assert field.tell("gate", "door-hold") == ""
    assert not chip.level(SIREN)
    assert field.end() == 0
    assert chip.level(SIREN)


def test_a_chip_that_is_unplugged_and_comes_back_under_another_number(chip: GpioChip, start: Start) -> None:
    field = start(CALL_POINT, HORN)
    field.hear("horn", siren=False)
    field.hear("call", pressed=False)
    assert field.tell("horn", "siren-on") == ""
    chip.unplug()
    field.fail("call", "line-down")
    field.fail("call", "gpio-chip")
    assert field.tell("horn", "siren-on") == "gpio-chip"
    chip.drive(CALL, False)
    chip.plug(7)
    plugged = time.monotonic()
    field.hear("call", pressed=True)
    assert time.monotonic() - plugged < 5.5
    field.hear("horn", siren=False)
    assert not chip.level(SIREN)
    log = field.log
    assert [log.count(f"[{key} ") for key in ("bus-down", "bus-up", "device-offline", "device-online")] == [
        1, 2, 2, 2,
    ]  # fmt: skip


def test_a_line_that_another_program_has_costs_its_device_alone(chip: GpioChip, start: Start) -> None:
    chip.take(SOS, "w1-gpio")
    field = start(BUTTON.replace("3600", "0.5"), CALL_POINT)
    field.fail("button", "gpio-busy")
    assert "line GPIO27 is in use by 'w1-gpio'" in field.log
    field.hear("call", pressed=False)
    chip.lines[SOS].flags = 0
    field.hear("button", sos=False)
    chip.drive(SOS, False)
    field.hear("button", sos=True)


@pytest.mark.parametrize("line", ['"GPIO27"', "27"])
def test_a_chip_that_goes_while_its_line_is_not_ours(chip: GpioChip, start: Start, line: str) -> None:
    chip.take(SOS, "w1-gpio")
    field = start(BUTTON.replace('"GPIO27"', line).replace("3600", "0.1"))
    field.fail("button", "gpio-busy")
    chip.unplug()
    field.fail("button", "line-down")
    assert "[crashed" not in field.log


@pytest.mark.parametrize("line", ['"GPIO99"', "28"])
def test_a_line_that_the_chip_does_not_have(start: Start, line: str) -> None:
    field = start(BUTTON.replace('"GPIO27"', line).replace("3600", "0.1"), CALL_POINT)
    field.fail("button", "gpio-line")
    assert f"chip pinctrl-test has no line {line.strip(chr(34))}: it has 28" in field.log
    field.hear("call", pressed=False)


def test_what_the_chip_cannot_do_is_told(chip: GpioChip, start: Start) -> None:
    chip.inability = errno.ENXIO
    field = start(BUTTON.replace("3600", "0.1"))
    field.fail("button", "gpio-refused")
    assert "the kernel refuses line GPIO27 (the device cannot do that" in field.log


@pytest.mark.parametrize("refusal", [errno.EACCES, errno.EPERM])
def test_without_permission_the_group_is_named(chip: GpioChip, start: Start, refusal: int) -> None:
    chip.refusal = refusal
    field = start(CALL_POINT)
    field.fail("call", "gpio-permission")
    assert f"/dev/gpiochip0, which belongs to group {chip.group}" in field.log
    chip.refusal = 0
    field.hear("call", pressed=False)


def test_a_chip_by_its_path(chip: GpioChip, start: Start) -> None:
    chip.unplug()
    field = start(CALL_POINT, bus=SITE.replace("pinctrl-test", "/dev/gpiochip2"))
    field.fail("call", "line-open")
    chip.plug(2)
    field.hear("call", pressed=False)


def test_a_chip_with_two_names_is_one(chip: GpioChip, start: Start) -> None:
    chip.link(4)
    start(CALL_POINT).hear("call", pressed=False)


@pytest.mark.parametrize(("label", "twins"), [("pinctrl-rp1", 1), ("pinctrl-test", 2)])
def test_a_label_must_mean_one_chip(chip: GpioChip, start: Start, label: str, twins: int) -> None:
    for number in range(1, twins):
        chip.plug(number)
    field = start(CALL_POINT, bus=SITE.replace("pinctrl-test", label))
    field.fail("call", "gpio-chip")
    for number in range(twins):
        assert f"/dev/gpiochip{number} (pinctrl-test)" in field.log


def test_linli_read_shows_the_levels(chip: GpioChip, environment: dict[str, str], tmp_path: Path) -> None:
    chip.drive(CALL, False)
    site = tmp_path / "site.toml"
    site.write_text(SITE + f'[control]\nsocket = "{tmp_path}/none.sock"\n' + CALL_POINT)
    told = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "read", "call", "--config", site],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    assert "  pressed: 1\n" in told
    assert "  pressed = true\n" in told


def test_a_short_press_is_an_alarm_in_the_journal(
    chip: GpioChip, environment: dict[str, str], tmp_path: Path
) -> None:
    """The whole gateway, polling once an hour."""
    places = f"""
    [journal]
    path = "{tmp_path}/journal.db"
    [control]
    socket = "{tmp_path}/control.sock"
    [metrics]
    port = {free_port()}
    """
    site, log = tmp_path / "site.toml", tmp_path / "log.txt"
    site.write_text(SITE + places + CALL_POINT.replace("0.5", "3600"))
    command = [sys.executable, "-W", "error", "-m", "gateway.cli", "run", "--config", str(site)]

    with log.open("w") as out, subprocess.Popen(command, cwd=ROOT, env=environment, stderr=out) as daemon:
        try:
            eventually(lambda: "[bus-up" in log.read_text())
            walk(chip, CALL, CALL)
            eventually(lambda: "change='cleared'" in log.read_text())
        finally:
            daemon.terminate()
    assert daemon.returncode == 0

    async def alarms() -> list[tuple[str, object]]:
        async with JournalReader.open(tmp_path / "journal.db") as reader:
            return [(r.device, r.body["change"]) async for r in reader.records(Lane.ALARM, 0)]

    assert asyncio.run(alarms()) == [("call", "raised"), ("call", "cleared")]


async def test_without_its_library_the_line_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(LinkDown, match="gpio-missing"):
        async with connect(Options(chip="pinctrl-test"), ()):
            pass


@pytest.mark.parametrize(
    ("old", "new", "key", "facts"),
    [
        ("lines = { pressed = 17 }", "lines = {}", "gpio-lines", {"wanted": "pressed = …"}),
        ("pressed = 17", "sos = 17", "gpio-lines", {"wanted": "pressed = …"}),
        ("pressed = 17", 'pressed = "GPIO27"', "gpio-taken", {"line": "GPIO27", "other": "button"}),
        ("pressed = 17", "pressed = 27", "gpio-taken", {"line": "27", "other": "twin"}),
        ("pressed = 17", "pressed = -1", "value-too-small", {}),
        ("pressed = 17", 'pressed = ""', "value-too-short", {}),
        ("pressed = 17", "pressed = true", "value-integer", {}),
        ("every", 'bias = "up"\nevery', "value-choice", {}),
        ('chip = "pinctrl-test"', 'chip = ""', "gpio-chip-empty", {}),
        ("call-point/generic-gpio", "own/odd", "gpio-model", {"lines": "elsewhere, pressed"}),
        ("call-point/generic-gpio", "own/three", "gpio-counts", {}),
        ("call-point/generic-gpio", "own/fast", "gpio-debounce", {}),
    ],
)
def test_a_mistake_is_found_without_hardware(
    tmp_path: Path, old: str, new: str, key: str, facts: dict[str, str]
) -> None:
    own = tmp_path / "profiles" / "own"
    own.mkdir(parents=True)
    model = (ROOT / "config/profiles/call-point/generic-gpio.toml").read_text("utf-8")
    more = '[actions.on]\nset = { pressed = true }\n[points.n]\ncounts = ["elsewhere"]\n'
    (own / "odd.toml").write_text(model + more, "utf-8")
    (own / "three.toml").write_text(model + '[points.n]\ncounts = ["a", "b", "c"]\n', "utf-8")
    (own / "fast.toml").write_text(model.replace("debounce = 30", "debounce = 0"), "utf-8")
    site = tmp_path / "site.toml"
    twin = BUTTON.replace(".button", ".twin").replace("GPIO27", "27")
    text = SITE + BUTTON + twin + CALL_POINT
    site.write_text(text)
    load_site(site)
    assert old in text
    site.write_text(text.replace(old, new))
    with pytest.raises(Mistakes) as wrong:
        load_site(site)
    told = {mistake.key: mistake for mistake in wrong.value.mistakes}
    assert told[key].facts.items() >= facts.items()
    assert told[key].text("zh") != told[key].text("en")


POINTS = {
    "a": PinPoint(),
    "b": PinPoint(),
    "pulses": PinPoint(counts=("a",)),
    "in": PinPoint(counts=("a", "b")),
    "out": PinPoint(counts=("b", "a")),
}


@given(st.lists(st.sampled_from("ab")))
def test_who_is_inside_is_how_often_the_beams_went_round(edges: list[str]) -> None:
    """However people step to and fro: the angle they turn the pair of beams by tells the same."""
    lines = PinStates({"a": False, "b": False})
    turned = 0
    for line in edges:
        level = not lines.levels[line]
        # The first beam, while the second is free, begins a turn forwards; the second one backwards.
        turned += 1 if (line == "a") == (level != lines.levels["b" if line == "a" else "a"]) else -1
        lines.apply_edge(line, level)
    values = decode(POINTS, lines.reading())
    if not any(lines.levels.values()):
        assert values["in"] - values["out"] == turned / 4  # type: ignore[operator]
    assert values["pulses"] == (edges.count("a") + 1) // 2
    assert values["a"] == bool(edges.count("a") % 2)


def test_who_stood_in_the_door_at_the_start_is_not_counted() -> None:
    for levels, edges in (((True, False), "bab"), ((True, True), "ab"), ((False, True), "b")):
        lines = PinStates(dict(zip("ab", levels, strict=True)))
        for line in edges:
            lines.apply_edge(line, not lines.levels[line])
        values = decode(POINTS, lines.reading())
        assert (values["in"], values["out"]) == (0, 0)


@given(st.dictionaries(st.sampled_from("abc"), st.booleans()), st.lists(st.sampled_from("abc")))
def test_a_point_whose_lines_were_not_read_is_left_out(levels: dict[str, bool], edges: list[str]) -> None:
    reading = parse_example({"levels": levels, "edges": [line for line in edges if line in levels]})
    wanted = {name for name, point in POINTS.items() if set(point.counts or name) <= levels.keys()}
    assert set(decode(POINTS, reading)) == wanted
    assert len(format_reading(reading).splitlines()) >= len(levels)


def test_the_same_level_twice_is_one_edge() -> None:
    lines = PinStates({"a": False, "b": True})
    for level in (True, True, False, False, True):
        lines.apply_edge("a", level)
    assert lines.counts["a",] == 2


@pytest.mark.parametrize("fields", [{}, {"levels": {"a": 1}}, {"levels": {"a": True}, "edges": ["b"]}])
def test_an_example_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_example(fields)
