"""The figures: what each is called, its unit, and what is wanted of it."""

from __future__ import annotations

import operator
from typing import NamedTuple

HOLDS = {"≤": operator.le, "≥": operator.ge, "<": operator.lt}


class Figure(NamedTuple):
    """One line of the table."""

    zh: str
    en: str
    unit: str = ""
    wanted: str = ""

    def met(self, value: float) -> bool | None:
        """Whether the figure is as wanted; None when nothing is."""
        return HOLDS[self.wanted[0]](value, float(self.wanted[1:])) if self.wanted else None


FIGURES: dict[str, dict[str, Figure]] = {
    "saturation": {
        "points_per_second": Figure("单核饱和时采集", "read and journalled on one core, flat out", "/s"),
        "arrived_per_second": Figure("同时到达平台", "arriving at the broker meanwhile", "/s"),
        "cpu_percent": Figure("守护进程占用核", "of its core in use", "%"),
        "cpu_us_per_poll": Figure("每次轮询（100 点）CPU", "CPU per poll of 100 points", "µs"),
        "times_reference": Figure("与裸 pymodbus+paho 之比", "times bare pymodbus and paho", "×"),
    },
    "load": {
        "cpu_s_per_100k_points": Figure("每 10 万点 CPU", "CPU per 100,000 points", "s", "≤3"),
        "times_reference": Figure("与裸 pymodbus+paho 之比", "times bare pymodbus and paho", "×"),
        "resident_mb": Figure("常驻内存", "resident memory", "MB", "≤60"),
        "pss_mb": Figure("按比例分摊的内存（Pss）", "its share of memory (Pss)", "MB"),
        "missed_percent": Figure("错过的轮询", "polls missed", "%"),
        "disk_bytes_per_1000_points": Figure("每千点写盘", "written to disk per 1,000 points", "B"),
        "syncs_per_1000_points": Figure(
            "每千点提交（各一次 fsync）", "commits, one fsync each, per 1,000 points"
        ),
        "telemetry_p50_ms": Figure("读到→到达 p50", "read to arrival, p50", "ms"),
        "telemetry_p99_ms": Figure("读到→到达 p99", "read to arrival, p99", "ms", "≤100"),
    },
    "latency": {
        "telemetry_p50_ms": Figure("遥测 读到→到达 p50", "telemetry, read to arrival, p50", "ms"),
        "telemetry_p99_ms": Figure("遥测 读到→到达 p99", "telemetry, read to arrival, p99", "ms", "≤100"),
        "telemetry_samples": Figure("遥测样本数", "telemetry samples"),
        "alarm_p50_ms": Figure("警报 读到→到达 p50", "alarms, read to arrival, p50", "ms"),
        "alarm_p99_ms": Figure("警报 读到→到达 p99", "alarms, read to arrival, p99", "ms", "≤50"),
        "alarm_samples": Figure("警报样本数", "alarm samples"),
    },
    "idle": {
        "cpu_percent": Figure("演示站点 CPU", "CPU with the demo's site", "%", "<2"),
        "resident_mb": Figure("常驻内存", "resident memory", "MB", "≤60"),
    },
    "start": {
        "fresh_s": Figure("启动到首条遥测（新日志）", "start to first telemetry, new journal", "s", "≤2"),
        "again_s": Figure("同上（已有日志）", "the same, existing journal", "s", "≤2"),
        "killed_s": Figure("同上（kill -9 之后）", "the same, after kill -9", "s", "≤2"),
    },
    "journal": {
        "points_per_second": Figure("持续写入", "appended and committed", "/s", "≥50000"),
        "bytes_per_record_1s": Figure(
            "每条 100 B 记录写盘（窗口 1 s）", "to disk per 100-byte record, 1 s window", "B", "≤1000"
        ),
        "bytes_per_record_5s": Figure(
            "每条 100 B 记录写盘（窗口 5 s）", "to disk per 100-byte record, 5 s window", "B", "≤500"
        ),
    },
    "drain": {
        "points_per_second": Figure("补传", "backlog delivered", "/s", "≥10000"),
        "points": Figure("积压", "backlog", ""),
        "missing": Figure("缺失", "missing", "", "≤0"),
        "repeated": Figure("重复", "repeated", "", "≤0"),
        "growth_mb": Figure("补传期间内存增长", "memory growth meanwhile", "MB", "≤10"),
        "alarm_samples": Figure("其间警报数", "alarms meanwhile"),
        "alarm_p50_ms": Figure("其间警报 提交→到达 p50", "alarms meanwhile, commit to arrival, p50", "ms"),
        "alarm_p99_ms": Figure(
            "其间警报 提交→到达 p99", "alarms meanwhile, commit to arrival, p99", "ms", "≤20"
        ),
    },
}  # fmt: skip
