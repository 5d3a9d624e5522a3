from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gateway.field.doctor import Patient, examine, report
from gateway.field.tally import Tally
from gateway.words import LANGUAGES, translate, words

HOUR = 600.0


def a_patient(name: str = "a", busy: float = 1.0, took: float = 0.02, **fields: Any) -> Patient:
    """One that was polled 100 times; `failures` of them in vain."""
    failures = Counter(fields.pop("failures", {}))
    tally = Tally(polls=100, busy=busy, failures=failures, **fields.pop("counts", {}))
    for _ in range(tally.readings):
        tally.took(took)
    return Patient(name, offline=not tally.readings, tally=tally, seconds=HOUR, **fields)


WELL = a_patient("well")
CASES: dict[str, tuple[tuple[Patient, ...], list[tuple[str, str]]]] = {
    "well": ((WELL, a_patient("b")), []),
    "one dead": ((WELL, a_patient(failures={"timeout": 100}, busy=486)), [("device-dead", "a")]),
    "all dead": (tuple(a_patient(n, failures={"timeout": 100}) for n in "ab"), [("line-silent", "")]),
    "all garbled": (tuple(a_patient(n, failures={"garbage": 100}) for n in "ab"), [("line-noise", "")]),
    "the only one is dead": ((a_patient(failures={"timeout": 100}),), [("device-dead", "a")]),
    "garbled": ((WELL, a_patient(failures={"garbage": 100})), [("device-garbled", "a")]),
    "bad wire": ((WELL, a_patient(failures={"garbage": 5})), [("device-noisy", "a")]),
    "loose contact": ((WELL, a_patient(failures={"timeout": 10})), [("device-lossy", "a")]),
    "another model": ((WELL, a_patient(failures={"modbus-exception": 100})), [("device-refuses", "a")]),
    "slow": ((WELL, a_patient(took=0.4)), [("device-slow", "a")]),
    "full": (
        (WELL, a_patient(busy=590, counts={"missed": 30})),
        [("line-full", ""), ("device-greedy", "a")],
    ),
    "jumpy": ((WELL, a_patient(counts={"unconfirmed": 2})), [("device-jumpy", "a")]),
    "empty battery": ((WELL, a_patient(failures={"silent": 100}, pushes=True)), [("device-mute", "a")]),
    "too early to tell": ((Patient("a", False, Tally(polls=2), 2.0),), []),
}


@pytest.mark.parametrize(("patients", "wanted"), CASES.values(), ids=CASES)
def test_each_trouble_has_its_sentence(
    patients: tuple[Patient, ...], wanted: list[tuple[str, str]]
) -> None:
    found = examine(True, patients, timeout=0.5)
    assert [(each.key, each.device) for each in found] == wanted


def test_a_closed_line_says_nothing_of_its_devices() -> None:
    assert [each.key for each in examine(False, [a_patient(failures={"timeout": 100})])] == ["line-down"]


def test_the_sentence_names_the_share_of_the_line() -> None:
    (dead,) = examine(True, [WELL, a_patient(failures={"timeout": 100}, busy=486)])
    assert translate("en", f"doctor.{dead.key}", name="Unit 7", **dead.facts).startswith(
        "Unit 7 never responds and takes 81 % of the line's time: it may have no power"
    )
    assert translate("zh", f"doctor.{dead.key}", name="7 号", **dead.facts).startswith(
        "7 号 从不应答，占用线路 81 %：多半是没通电"
    )


def test_every_finding_fills_its_sentence() -> None:
    for patients, _ in CASES.values():
        for up in (True, False):
            for finding in examine(up, patients, timeout=0.5):
                for language in LANGUAGES:
                    assert f"doctor.{finding.key}" in words(language)
                    assert "?" not in translate(
                        language, f"doctor.{finding.key}", name="x", **finding.facts
                    )


def test_the_report_counts_by_kind_of_failure() -> None:
    patient = a_patient(failures={"timeout": 1, "garbage": 2, "reply-length": 3, "modbus-exception": 4})
    (device,) = report(True, [patient])["devices"]
    assert (device["silent"], device["damaged"], device["refused"]) == (1, 5, 4)
    assert device["readings"] == 90
    assert device["p50"] == pytest.approx(20, rel=0.1)
