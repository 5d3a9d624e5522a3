from __future__ import annotations

import pytest

from gateway.wire.notices import MAX_NOTICES, NOTICE_LIFETIME_S, Notices


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().rpartition("  [")[2] for record in caplog.records]


def test_each_kind_and_address_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    for device in ("east", "west"):
        notices.add("push-token", "192.0.2.1", device=device)
    notices.add("push-token", "192.0.2.2", device="east")
    assert list(notices) == [
        ("push-token", {"address": "192.0.2.1", "device": "west", "count": 2}),
        ("push-token", {"address": "192.0.2.2", "device": "east", "count": 1}),
    ]
    assert told(caplog) == [
        "push-token address='192.0.2.1' device='east']",
        "push-token address='192.0.2.2' device='east']",
    ]


def test_it_is_over_some_time_after_the_last_occurrence(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    notices = Notices(lambda: now)
    notices.add("push-token", "192.0.2.1", device="east")
    now = NOTICE_LIFETIME_S - 1
    notices.add("push-token", "192.0.2.1", device="east")
    now += NOTICE_LIFETIME_S - 1
    assert len(list(notices)) == 1
    now += 1
    assert list(notices) == []
    notices.add("push-token", "192.0.2.1", device="east")
    assert len(told(caplog)) == 2


def test_there_are_not_too_many() -> None:
    notices = Notices()
    for number in range(MAX_NOTICES + 3):
        notices.add("push-token", f"2001:db8::{number}", device="east")
    kept = [facts["address"] for _, facts in notices]
    assert kept == [f"2001:db8::{number}" for number in range(3, MAX_NOTICES + 3)]
