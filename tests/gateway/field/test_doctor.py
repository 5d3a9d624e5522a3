from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gateway.field.doctor import DeviceSnapshot, diagnose, line_report
from gateway.field.tally import PollTally
from gateway.model import FailureKind, ReadFailed, sentence
from gateway.words import LANGUAGES, translate, words

COVERED_S = 600.0
DOWN = sentence("cause.missing")


def a_device(
    name: str = "a", busy_s: float = 1.0, latency_s: float = 0.02, **fields: Any
) -> DeviceSnapshot:
    """One that was polled 100 times; `failures` of them in vain."""
    failures = Counter(fields.pop("failures", {}))
    tally = PollTally(polls=100, busy_s=busy_s, failures=failures, **fields.pop("counts", {}))
    for _ in range(tally.readings):
        tally.add_latency(latency_s)
    fields.setdefault("silent_s", 1.0 if tally.readings else None)
    fields.setdefault("is_offline", not tally.readings)
    return DeviceSnapshot(name, tally=tally, covered_s=COVERED_S, **fields)


def dead(kind: str, name: str = "a", **fields: Any) -> DeviceSnapshot:
    """One whose outage has been reported, though most readings of the last minutes are good."""
    failure = ReadFailed("gb26875-denied", FailureKind(kind))
    fields.setdefault("silent_s", 300.0)
    return a_device(name, is_offline=True, failure=failure, **fields)


WELL = a_device("well")
CASES: dict[str, tuple[tuple[DeviceSnapshot, ...], list[tuple[str, str]]]] = {
    "well": ((WELL, a_device("b")), []),
    "one dead": ((WELL, a_device(failures={"timeout": 100}, busy_s=486)), [("device-dead", "a")]),
    "all dead": (tuple(a_device(n, failures={"timeout": 100}) for n in "ab"), [("line-silent", "")]),
    "all garbled": (tuple(a_device(n, failures={"damaged": 100}) for n in "ab"), [("line-noise", "")]),
    "the only one is dead": ((a_device(failures={"timeout": 100}),), [("device-dead", "a")]),
    "garbled": ((WELL, a_device(failures={"damaged": 100})), [("device-garbled", "a")]),
    "bad wire": ((WELL, a_device(failures={"damaged": 5})), [("device-noisy", "a")]),
    "loose contact": ((WELL, a_device(failures={"timeout": 10})), [("device-lossy", "a")]),
    "another model": ((WELL, a_device(failures={"refused": 100})), [("device-refuses", "a")]),
    "slow": ((WELL, a_device(latency_s=0.4)), [("device-slow", "a")]),
    "full": (
        (WELL, a_device(busy_s=590, counts={"missed": 30})),
        [("line-full", ""), ("device-greedy", "a")],
    ),
    "jumpy": ((WELL, a_device(counts={"unconfirmed": 2})), [("device-jumpy", "a")]),
    "empty battery": ((WELL, a_device(failures={"silent": 100}, pushes=True)), [("device-mute", "a")]),
    "died lately": ((WELL, dead("timeout", failures={"timeout": 30})), [("device-gone", "a")]),
    "never answered": ((WELL, dead("timeout", silent_s=None)), [("device-dead", "a")]),
    "refuses by now": ((WELL, dead("refused", failures={"refused": 9})), [("device-refuses", "a")]),
    "garbled by now": ((WELL, dead("damaged", failures={"damaged": 9})), [("device-garbled", "a")]),
    "fails otherwise": ((WELL, dead("other")), [("device-failing", "a")]),
    "all died lately": ((dead("timeout"), dead("timeout", "b")), [("line-silent", "")]),
    "fell silent": ((WELL, dead("silent", pushes=True)), [("device-silent", "a")]),
    "never sent": ((WELL, dead("silent", pushes=True, silent_s=None)), [("device-mute", "a")]),
    "none sends": (tuple(dead("silent", n, pushes=True, silent_s=None) for n in "ab"), [("line-mute", "")]),
    "has not sent yet": (
        (WELL, DeviceSnapshot("a", False, PollTally(), 2.0, pushes=True)),
        [("unheard", "")],
    ),
    "sends what nobody knows": (
        (WELL, a_device(unusable={"smoke": "wrong-type", "gas": "missing", "heat": "wrong-type"})),
        [("points-unusable", "a"), ("points-unusable", "a")],
    ),
    "too early to tell": ((DeviceSnapshot("a", False, PollTally(polls=2), 2.0),), [("unheard", "")]),
}


@pytest.mark.parametrize(("devices", "wanted"), CASES.values(), ids=CASES)
def test_each_trouble_has_its_sentence(
    devices: tuple[DeviceSnapshot, ...], wanted: list[tuple[str, str]]
) -> None:
    found = diagnose(None, devices, timeout_s=0.5)
    assert [(each.key, each.device) for each in found] == wanted


def test_a_closed_line_says_nothing_of_its_devices() -> None:
    assert [each.key for each in diagnose(DOWN, [a_device(failures={"timeout": 100})])] == ["line-down"]


def test_the_sentence_names_the_share_of_the_line() -> None:
    (dead,) = diagnose(None, [WELL, a_device(failures={"timeout": 100}, busy_s=486)])
    assert translate("en", f"doctor.{dead.key}", name="Unit 7", **dead.facts).startswith(
        "Unit 7 never responds and takes 81 % of the line's time: it may have no power"
    )
    assert translate("zh", f"doctor.{dead.key}", name="7 号", **dead.facts).startswith(
        "7 号 从不应答，占用线路 81 %：多半是没通电"
    )


def test_every_diagnosis_fills_its_sentence() -> None:
    for devices, _ in CASES.values():
        for down in (None, DOWN):
            for diagnosis in diagnose(down, devices, timeout_s=0.5):
                for language in LANGUAGES:
                    assert f"doctor.{diagnosis.key}" in words(language)
                    assert "?" not in translate(
                        language, f"doctor.{diagnosis.key}", name="x", **diagnosis.facts
                    )


def test_the_report_counts_by_kind_of_failure() -> None:
    snapshot = a_device(failures={"timeout": 1, "damaged": 2, "out-of-step": 3, "refused": 4})
    (device,) = line_report(None, [snapshot])["devices"]
    assert (device["silent"], device["damaged"], device["refused"]) == (1, 5, 4)
    assert device["readings"] == 90
    assert device["p50"] == pytest.approx(20, rel=0.1)


def test_what_has_not_been_heard_is_named_and_its_line_is_not_well() -> None:
    quiet = DeviceSnapshot("smoke-1", False, PollTally(), 2.0, pushes=True, longest_silence_s=10_800)
    report = line_report(None, [WELL, quiet])
    assert [device["state"] for device in report["devices"]] == ["online", "not-heard"]
    (finding,) = report["findings"]
    said = {lang: translate(lang, f"doctor.{finding['key']}", **finding["facts"]) for lang in LANGUAGES}
    assert "smoke-1" in said["zh"]
    assert "3 小时" in said["zh"]
    assert "offline after 3 h at most" in said["en"]


def test_a_device_that_sends_none_of_its_values_is_not_said_to_be_silent() -> None:
    leak = DeviceSnapshot("leak", False, PollTally(polls=9), 60.0, pushes=True)
    (finding,) = diagnose(None, [WELL, leak])
    assert (finding.key, finding.device) == ("device-valueless", "leak")


def test_a_failure_without_a_diagnosis_of_its_own_says_its_reason() -> None:
    (finding,) = diagnose(None, [WELL, dead("other")])
    assert translate("en", f"doctor.{finding.key}", name="Hall", **finding.facts).startswith(
        "Hall: the fire alarm transmitter rejected"
    )
