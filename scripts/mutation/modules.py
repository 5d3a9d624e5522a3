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
            "return _smaller(plain, zlib.compress(plain, 1))",
            "return _smaller(plain, zlib.compress(plain, 2))",
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
    "gateway/wire/codec.py": {
        (
            "return found[0] if found and isinstance(found[0], bool | int | float | str) else None",
            "return found[ -1] if found and isinstance(found[0], bool | int | float | str) else None",
        ): "it is the only one",
        (
            "return found[0] if found and isinstance(found[0], bool | int | float | str) else None",
            "return found[0] if found and isinstance(found[ -1], bool | int | float | str) else None",
        ): "it is the only one",
    },
    "drivers/gb26875/packets.py": {
        ("self._searched = 0", "self._searched = -1"): "a search begins at the beginning",
        ("self._garbled_until = 0", "self._garbled_until = -1"): "no packet begins earlier",
        ("sound_until = 0", "sound_until = -1"): "no packet begins earlier",
        (
            "self._garbled_until = max(0, self._garbled_until - kept)",
            "self._garbled_until = max( -1, self._garbled_until - kept)",
        ): "no packet begins earlier",
    },
    "drivers/modbus/registers.py": {
        (
            '"bit": (lambda point: (point.bit or 0) < point.bits, "bit-range"),',
            '"bit": (lambda point: (point.bit or -1) < point.bits, "bit-range"),',
        ): "without a bit there is none to check",
        (
            "before, limit = max_hole, 0",
            "before, limit = max_hole, 1",
        ): "there is no request before the first",
        (
            "before, limit = max_hole, 0",
            "before, limit = max_hole, -1",
        ): "there is no request before the first",
        ("self._has_replied = False", "self._has_replied = True"): "each poll begins with False",
        ("values[name] = bool(words[0])", "values[name] = bool(words[ -1])"): "it is the only one",
        (
            'values[name] = struct.unpack(f">{FORMATS[point.type]}", data)[0]',
            'values[name] = struct.unpack(f">{FORMATS[point.type]}", data)[ -1]',
        ): "it is the only one",
    },
    f"{SAFETY}/alarms/rule_evaluator.py": {
        ("self._last_changed_s = 0.0", "self._last_changed_s = 1.0"): "the first reading sets it",
        ("self._last_changed_s = 0.0", "self._last_changed_s = -1.0"): "the first reading sets it",
        ("state = entries[0][0]", "state = entries[ -1][0]"): "all entries are of one rule",
        (
            "state.conditions[0].update_value(place in places, at.mono_ns / 1e9)",
            "state.conditions[0].update_value(place in places, at.mono_ns * 1e9)",
        ): "whether it is a place has nothing to do with time",
        (
            "state.conditions[0].update_value(place in places, at.mono_ns / 1e9)",
            "state.conditions[0].update_value(place in places, at.mono_ns / 1000000001.0)",
        ): "whether it is a place has nothing to do with time",
        (
            "state.conditions[0].update_value(place in places, at.mono_ns / 1e9)",
            "state.conditions[0].update_value(place in places, at.mono_ns / 999999999.0)",
        ): "whether it is a place has nothing to do with time",
        (
            "state.conditions[0].update_value(place in places, at.mono_ns / 1e9)",
            "state.conditions[ -1].update_value(place in places, at.mono_ns / 1e9)",
        ): "the rule of a point has one condition",
    },
    f"{VISITORS}/opening_hours.py": {
        (
            "uncounted_s = day.uncounted_s + at.seconds_since(day.uncounted_since, if_unknown=0.0)",
            "uncounted_s = day.uncounted_s + at.seconds_since(day.uncounted_since, if_unknown= 1.0)",
        ): "the clock is set at both",
        (
            "uncounted_s = day.uncounted_s + at.seconds_since(day.uncounted_since, if_unknown=0.0)",
            "uncounted_s = day.uncounted_s + at.seconds_since(day.uncounted_since, if_unknown= -1.0)",
        ): "the clock is set at both",
    },
    f"{VISITORS}/period_counts.py": {
        (
            "if counter.missing_reported_until_s <= earlier[1]",
            "if counter.missing_reported_until_s < earlier[1]",
        ): "a time that was counted is between two gaps",
        (
            "silent = sample.at.seconds_since(counter.at, if_unknown=0.0)",
            "silent = sample.at.seconds_since(counter.at, if_unknown= 1.0)",
        ): "a second is never too long",
        (
            "silent = sample.at.seconds_since(counter.at, if_unknown=0.0)",
            "silent = sample.at.seconds_since(counter.at, if_unknown= -1.0)",
        ): "a second is never too long",
    },
    f"{VISITORS}/running_totals.py": {
        (
            "and sample.at.seconds_since(counter.restarted_at, if_unknown=0.0) > MAX_LATENESS_S",
            "and sample.at.seconds_since(counter.restarted_at, if_unknown= 1.0) > MAX_LATENESS_S",
        ): "a second is never too long",
        (
            "and sample.at.seconds_since(counter.restarted_at, if_unknown=0.0) > MAX_LATENESS_S",
            "and sample.at.seconds_since(counter.restarted_at, if_unknown= -1.0) > MAX_LATENESS_S",
        ): "a second is never too long",
        (
            "self._total = counter.total or (0, 0)",
            "self._total = counter.total or ( 1, 0)",
        ): "a total is evaluated only where there is an earlier one",
        (
            "self._total = counter.total or (0, 0)",
            "self._total = counter.total or ( -1, 0)",
        ): "a total is evaluated only where there is an earlier one",
        (
            "self._total = counter.total or (0, 0)",
            "self._total = counter.total or (0, 1)",
        ): "a total is evaluated only where there is an earlier one",
        (
            "self._total = counter.total or (0, 0)",
            "self._total = counter.total or (0, -1)",
        ): "a total is evaluated only where there is an earlier one",
    },
    f"{VISITORS}/service.py": {
        (
            "with_passage(_replace(place, tours=place.tours + (0 if room else tours)), came, left),",
            "with_passage(_replace(place, tours=place.tours + ( 1 if room else tours)), came, left),",
        ): "of a room it is not read",
    },
    "drivers/modbus/framer.py": {
        (
            'frame = self._stream[at : at + HEADER_BYTES + size] if at >= 0 else b""',
            'frame = self._stream[at : at + HEADER_BYTES + size] if at >= -1 else b""',
        ): "a frame of a byte is none",
    },
}
"""Mutants that behave as the module does: the line as it is and as it is changed, and why."""
