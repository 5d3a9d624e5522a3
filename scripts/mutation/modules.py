"""The pure modules that are mutated, what tests them, and the mutants that no test can notice."""

SAFETY = "gateway/capabilities/safety/services"
VISITORS = "gateway/capabilities/visitors/services"

MODULES: dict[str, tuple[str, ...]] = {
    "gateway/model/alarm.py": (f"{SAFETY}/alarms",),
    "gateway/model/device_time.py": (),
    "gateway/model/hours.py": (),
    "gateway/model/time.py": (),
    "gateway/wire/codec.py": (),
    "gateway/wire/json_text.py": (),
    "gateway/wire/path.py": (),
    "gateway/wire/press.py": (),
    "gateway/field/schedule.py": (),
    "gateway/field/tally.py": (),
    "gateway/journal/rows.py": (),
    "gateway/journal/tail.py": (),
    "gateway/services/commands.py": (),
    "gateway/services/presence.py": (),
    "gateway/services/timekeeping.py": (),
    "gateway/capabilities/parcels/services.py": (),
    "gateway/capabilities/parking/services.py": (),
    f"{SAFETY}/alarms/rule_evaluator.py": (f"{SAFETY}/alarms/test_places.py",),
    f"{SAFETY}/alarms/rules.py": (f"{SAFETY}/alarms",),
    f"{SAFETY}/alarms/state_machine.py": (),
    f"{SAFETY}/alarms/service.py": (
        f"{SAFETY}/alarms/test_scenarios.py",
        f"{SAFETY}/alarms/test_places.py",
    ),
    f"{SAFETY}/batteries.py": (),
    f"{SAFETY}/emergency_plans.py": (),
    f"{SAFETY}/escalation.py": (),
    f"{SAFETY}/findings.py": (),
    f"{SAFETY}/patrols.py": (),
    f"{SAFETY}/supervision.py": (),
    f"{VISITORS}/bookings.py": (),
    f"{VISITORS}/counters.py": (
        f"{VISITORS}/test_running_totals.py",
        f"{VISITORS}/test_period_counts.py",
    ),
    f"{VISITORS}/opening_hours.py": (),
    f"{VISITORS}/period_counts.py": (),
    f"{VISITORS}/running_totals.py": (f"{VISITORS}/test_exactness.py",),
    f"{VISITORS}/service.py": tuple(
        f"{VISITORS}/test_{name}.py" for name in ("bookings", "hostile", "opening_hours", "period_counts")
    ),
    "drivers/ble/formats.py": (),
    "drivers/dlt645/frames.py": (),
    "drivers/dlt645/points.py": (),
    "drivers/gb26875/packets.py": ("drivers/gb26875",),
    "drivers/lorawan/records.py": ("drivers/test_lorawan.py",),
    "drivers/modbus/framer.py": (),
    "drivers/modbus/registers.py": ("drivers/modbus/test_options.py",),
}
"""Each with what tests it besides its mirrored test, under `tests/`."""

EQUIVALENT: dict[str, dict[tuple[str, str], str]] = {
    "gateway/journal/rows.py": {
        (
            "body = DEFLATED + deflated if len(deflated) < len(plain) else PLAIN + plain",
            "body = DEFLATED + deflated if len(deflated) <= len(plain) else PLAIN + plain",
        ): "of the same length, either will do",
        (
            "deflated = zlib.compress(plain, 1)",
            "deflated = zlib.compress(plain, 2)",
        ): "a little slower and smaller",
    },
    "gateway/services/commands.py": {
        ("return 0", "return 1"): "no command expires in 1970",
        ("return 0", "return -1"): "no command expires in 1970",
        (
            "return max((order.expires for order in rows.values()), default=0)",
            "return max((order.expires for order in rows.values()), default= 1)",
        ): "no command expires in 1970",
        (
            "return max((order.expires for order in rows.values()), default=0)",
            "return max((order.expires for order in rows.values()), default= -1)",
        ): "no command expires in 1970",
        (
            "earliest = heapq.nsmallest(max(0, len(rows) - MAX_COMMANDS), ended)",
            "earliest = heapq.nsmallest(max( -1, len(rows) - MAX_COMMANDS), ended)",
        ): "fewer than none are none",
    },
}
"""Mutants that behave as the module does: the line as it is and as it is changed, and why."""
