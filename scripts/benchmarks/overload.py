"""What happens beyond the ceiling: the load that the computer can just do is found, and then exceeded.

All figures are ratios within one run, as the ceiling depends on the computer and what else it does.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import msgspec
from recorder import ArrivalRecorder
from rig import Daemon, Rig, wait_until
from subjects import Figures, Measurement, Workload, percentile, since_read

LINES, SAFETY_DEVICES, POINTS = 32, 20, 20
MAX_DEVICES = 7800
"""Each line has at most 247 units."""
FACTORS = (1.1, 1.5, 2.0)
REDUCED_LOAD = 0.3
RECOVERY_TIMEOUT_S = 60.0


class LoadResult(msgspec.Struct):
    """The effect of a load."""

    arrived_per_s: float
    """Samples of the devices that are no safety devices."""
    cpu_s_per_sample: float
    idle_fraction: float
    missed_percent: float
    stretch: float
    unevenness: float
    """The most samples of a device per the fewest of one."""
    safety_percent: float
    """Samples of the safety devices, of those that were due."""
    delay_p50_ms: float
    """From the reading to the arrival."""
    alarm_p50_ms: float
    alarm_p99_ms: float
    resident_mb: float


def overload(workload: Workload) -> Figures:
    """More devices of 20 points at 1 s than the computer can do, and 20 gas detectors among them."""
    calm = _run(workload, 300)
    # Less exact the further away it is.
    near = _run(workload, 0.8 * _ceiling(calm))
    ceiling = _run(workload, _ceiling(near))
    devices = max(near.arrived_per_s, ceiling.arrived_per_s)
    figures: Figures = {
        "ceiling_points_per_second": POINTS * devices,
        "alarm_p50_ms": ceiling.alarm_p50_ms,
        "alarm_p99_ms": ceiling.alarm_p99_ms,
    }
    for factor in FACTORS:
        with Rig("overload") as rig:
            lines = rig.start_plc(LINES)
            recorder = rig.start_broker()
            site = _write_site(rig, lines, factor * devices)
            daemon = rig.enter_context(rig.run_daemon(site))
            result = _measure(workload, daemon, recorder)
            if factor == FACTORS[-1]:
                _write_site(rig, lines, REDUCED_LOAD * devices)
                figures["recovery_s"] = _measure_recovery(daemon)
        figures |= {
            f"arrived_percent_{factor}": 100 * result.arrived_per_s / devices,
            f"cpu_times_{factor}": result.cpu_s_per_sample / near.cpu_s_per_sample,
            f"stretch_{factor}": result.stretch,
            f"missed_percent_{factor}": result.missed_percent,
            f"unevenness_{factor}": result.unevenness,
            f"safety_percent_{factor}": result.safety_percent,
            f"delay_p50_ms_{factor}": result.delay_p50_ms,
            f"alarm_p50_ms_{factor}": result.alarm_p50_ms,
            f"alarm_p99_ms_{factor}": result.alarm_p99_ms,
            f"memory_times_{factor}": result.resident_mb / near.resident_mb,
        }
    return figures


def _ceiling(result: LoadResult) -> float:
    """The samples per second at which the event loop would have no idle time left."""
    return result.arrived_per_s / (1 - result.idle_fraction)


def _write_site(rig: Rig, lines: list[str], devices: float) -> Path:
    count = min(MAX_DEVICES, round(devices))
    return rig.write_site(lines, devices=count, alarms=SAFETY_DEVICES, points=POINTS)


def _run(workload: Workload, devices: float) -> LoadResult:
    with Rig("overload") as rig:
        lines = rig.start_plc(LINES)
        recorder = rig.start_broker()
        daemon = rig.enter_context(rig.run_daemon(_write_site(rig, lines, devices)))
        return _measure(workload, daemon, recorder)


def _measure(workload: Workload, daemon: Daemon, recorder: ArrivalRecorder) -> LoadResult:
    wait_until(lambda: recorder.samples, 60)
    time.sleep(15 * workload.time_factor)
    samples, alarms = len(recorder.samples), len(recorder.alarms)
    idle = daemon.metric("linli_loop_idle_seconds_total")
    stretches = []
    with Measurement(daemon) as measured:
        for _ in range(5):
            time.sleep(6 * workload.time_factor)
            stretches.append(daemon.metric("linli_poll_stretch"))
        arrived, raised = recorder.samples[samples:], recorder.alarms[alarms:]
    idle = daemon.metric("linli_loop_idle_seconds_total") - idle
    counts = Counter(sample.device for sample in arrived)
    safety = sum(count for device, count in counts.items() if device.startswith("gas"))
    others = [count for device, count in counts.items() if device.startswith("d")]
    delays = since_read(arrived, "stamp")
    alarm_delays = since_read([alarm for alarm in raised if alarm.data["change"] == "raised"], "value")
    return LoadResult(
        arrived_per_s=sum(others) / measured.seconds,
        cpu_s_per_sample=measured.cpu / (sum(others) + safety),
        idle_fraction=idle / measured.seconds,
        missed_percent=measured.missed_percent,
        stretch=sum(stretches) / len(stretches),
        unevenness=max(others) / min(others),
        safety_percent=100 * safety / (SAFETY_DEVICES * measured.seconds),
        delay_p50_ms=percentile(delays, 50),
        alarm_p50_ms=percentile(alarm_delays, 50),
        alarm_p99_ms=percentile(alarm_delays, 99),
        resident_mb=daemon.resident_mb(),
    )


def _measure_recovery(daemon: Daemon) -> float:
    """Seconds from the reload with fewer devices until the periods are the configured ones."""
    revision = daemon.metric("linli_config_revision")
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: daemon.metric("linli_config_revision") > revision, RECOVERY_TIMEOUT_S)
    began = time.monotonic()
    wait_until(lambda: daemon.metric("linli_poll_stretch") == 1, RECOVERY_TIMEOUT_S)
    return time.monotonic() - began
