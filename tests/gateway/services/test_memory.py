from __future__ import annotations

from gateway.model import Sample
from gateway.services.memory import Kept, Memory, memories
from tests.clock import FakeClock

AT = FakeClock().now()


def test_the_newest_memory_is_kept_and_an_outage_erases_none() -> None:
    service, rows = Memory(), {"panel": Kept(b"a")}
    assert service.apply({}, Sample("panel", AT, memory=b"a")) == ({"panel": Kept(b"a")}, [])
    assert service.apply(rows, Sample("panel", AT, memory=b"b")) == ({"panel": Kept(b"b")}, [])
    for sample in (Sample("panel", AT, memory=b"a"), Sample("panel", AT, error="silent")):
        assert service.apply(rows, sample) == ({}, [])
    assert memories(rows) == {"panel": b"a"}
