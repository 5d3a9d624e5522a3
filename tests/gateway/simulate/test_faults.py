from __future__ import annotations

from gateway.simulate.faults import Faults


def test_dead_and_slow_units() -> None:
    faults = Faults()
    faults.cut([("rtu", 2)], on=True)
    faults.hold([("rtu", 3)], 1.5)
    assert [faults.delay("rtu", unit) for unit in (1, 2, 3)] == [0, None, 1.5]
    assert faults.delay("tcp", 2) == 0
    faults.cut([("rtu", 2)], on=False)
    faults.hold([("rtu", 3)], 0)
    assert [faults.delay("rtu", unit) for unit in (2, 3)] == [0, 0]
    assert faults.state() == {"dead": [], "slow": {}, "garbage": []}


def test_noise_lasts_as_long_as_asked() -> None:
    now = 100.0
    faults = Faults(clock=lambda: now)
    reply = bytes(range(20))
    assert faults.noise("rtu", reply) == reply
    faults.spoil("rtu", 10)
    assert all(faults.noise("rtu", reply) != reply for _ in range(50))
    assert any(reply in faults.noise("rtu", reply) for _ in range(50)), "at times beside the reply"
    assert any(reply not in faults.noise("rtu", reply) for _ in range(50)), "at times instead"
    assert faults.noise("cu16", reply) == reply
    assert faults.state()["garbage"] == ["rtu"]
    now = 110.0
    assert faults.noise("rtu", reply) == reply
    assert faults.state()["garbage"] == []
