from __future__ import annotations

from gateway.model import Sample
from gateway.services.driver_state import DriverState, DriverStateRow, saved_states
from tests.clock import FakeClock

AT = FakeClock().now()


def test_the_newest_memory_is_kept_and_an_outage_erases_none() -> None:
    service, rows = DriverState(), {"panel": DriverStateRow(b"a")}
    assert service.apply({}, Sample("panel", AT, driver_state=b"a")) == (
        {"panel": DriverStateRow(b"a")},
        [],
    )
    assert service.apply(rows, Sample("panel", AT, driver_state=b"b")) == (
        {"panel": DriverStateRow(b"b")},
        [],
    )
    for sample in (Sample("panel", AT, driver_state=b"a"), Sample("panel", AT, error="silent")):
        assert service.apply(rows, sample) == ({}, [])
    assert saved_states(rows) == {"panel": b"a"}
