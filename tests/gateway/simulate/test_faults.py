from __future__ import annotations

from gateway.simulate.faults import Faults


def test_dead_and_slow_units() -> None:
    faults = Faults()
    faults.set_dead([("rtu", 2)], on=True)
    faults.set_delay([("rtu", 3)], 1.5)
    assert [faults.reply_delay_s("rtu", unit) for unit in (1, 2, 3)] == [0, None, 1.5]
    assert faults.reply_delay_s("tcp", 2) == 0
    faults.set_dead([("rtu", 2)], on=False)
    faults.set_delay([("rtu", 3)], 0)
    assert [faults.reply_delay_s("rtu", unit) for unit in (2, 3)] == [0, 0]
    assert faults.state() == {"dead": [], "slow": {}, "garbage": []}


def test_noise_lasts_as_long_as_asked() -> None:
    now = 100.0
    faults = Faults(clock=lambda: now)
    reply = bytes(range(20))
    assert faults.apply_noise("rtu", reply) == reply
    faults.set_noise("rtu", 10)
    assert all(faults.apply_noise("rtu", reply) != reply for _ in range(50))
    assert any(reply in faults.apply_noise("rtu", reply) for _ in range(50)), "at times beside the reply"
    assert any(reply not in faults.apply_noise("rtu", reply) for _ in range(50)), "at times instead"
    assert faults.apply_noise("cu16", reply) == reply
    assert faults.state()["garbage"] == ["rtu"]
    now = 110.0
    assert faults.apply_noise("rtu", reply) == reply
    assert faults.state()["garbage"] == []
