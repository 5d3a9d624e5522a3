"""The figures: their names, units and targets."""

from __future__ import annotations

import operator
from typing import NamedTuple

COMPARISONS = {"≤": operator.le, "≥": operator.ge, "<": operator.lt}


class Figure(NamedTuple):
    """One row of the table."""

    zh: str
    en: str
    unit: str = ""
    target: str = ""

    def meets_target(self, value: float) -> bool | None:
        """Whether the target is met; None without a target."""
        return COMPARISONS[self.target[0]](value, float(self.target[1:])) if self.target else None


FAULT_NAMES = {
    "silent": ("不答", "silence"),
    "late": ("迟到", "late"),
    "twice": ("重复", "twice"),
    "twice_soon": ("稍后重复", "twice, a moment apart"),
    "late_twice": ("迟到两次", "late, and twice"),
    "garbage": ("乱码", "garbage"),
    "garbage_before": ("应答前乱码", "garbage before the reply"),
    "garbage_after": ("应答后乱码", "garbage after the reply"),
    "partial": ("残缺", "partial"),
    "partial_then_rest": ("残缺，余下迟到", "partial, the rest late"),
    "flipped": ("错一位", "a bit flipped"),
    "other_unit": ("别的站号", "another unit"),
    "other_function": ("别的功能码", "another function"),
    "shorter": ("太短", "too short"),
    "longer": ("太长", "too long"),
    "refused": ("异常应答", "refused"),
    "other_number": ("别的事务号", "another transaction number"),
}
"""The faults of the hostile slaves."""

OVERLOAD_FIGURES = {
    "arrived_percent": Figure("到达平台，占上限", "arriving, of the ceiling", "%", "≥95"),
    "cpu_times": Figure("每点 CPU，与 0.8 倍之比", "CPU per point, to that at 0.8 times", "×", "≤1.1"),
    "stretch": Figure("轮询周期延长到", "periods, of the configured", "×"),
    "missed_percent": Figure("错过的轮询", "polls missed", "%"),
    "unevenness": Figure("各设备次数最多与最少之比", "most samples of a device to the fewest", "×"),
    "safety_percent": Figure("安全设备保持的节拍", "cadence that safety devices keep", "%", "≥95"),
    "delay_p50_ms": Figure("遥测 读到→到达 p50", "telemetry, read to arrival, p50", "ms"),
    "alarm_p50_ms": Figure("警报 读到→到达 p50", "alarms, read to arrival, p50", "ms"),
    "alarm_p99_ms": Figure("警报 读到→到达 p99", "alarms, read to arrival, p99", "ms", "≤50"),
    "memory_times": Figure("内存，与 0.8 倍之比", "memory, to that at 0.8 times", "×"),
}
"""Of each load beyond the ceiling."""

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
    "thousand": {
        "points_per_second": Figure(
            "一千台设备 单核采集", "1,000 devices, read and journalled on one core", "/s", "≥30000"
        ),
        "arrived_per_second": Figure("同时到达平台", "arriving at the broker meanwhile", "/s"),
        "missed_percent": Figure("错过的轮询", "polls missed", "%", "<1"),
        "cpu_s_per_100k_points": Figure("每 10 万点 CPU", "CPU per 100,000 points", "s", "≤1.5"),
        "times_reference": Figure("与裸 pymodbus+paho 之比", "times bare pymodbus and paho", "×"),
        "resident_mb": Figure("常驻内存（含上行）", "resident memory, uplink and all", "MB", "≤100"),
    },
    "crowd": {
        "missed_percent_50_lines": Figure(
            "500 台 错过的轮询：50 条连接", "500 devices, polls missed: 50 connections", "%", "<0.1"
        ),
        "missed_percent_10_lines": Figure("同上：10 条连接", "the same: 10 connections", "%", "<0.1"),
        "missed_percent_10_slow_lines": Figure(
            "同上：10 条，每次应答 15 ms", "the same: 10, each answer after 15 ms", "%", "<0.1"
        ),
        "missed_percent_2_lines": Figure(
            "同上：2 条连接（各 250 台）", "the same: 2 connections of 250", "%", "<0.1"
        ),
    },
    "wire": {
        "use_percent": Figure(
            "9600 波特线路利用率（27 个寄存器）", "use of a line of 9600 baud, 27 registers", "%", "≥95"
        ),
        "use_percent_short": Figure("同上（10 个寄存器）", "the same, 10 registers", "%", "≥95"),
        "use_percent_reference": Figure("裸 pymodbus（27 个寄存器）", "bare pymodbus, 27 registers", "%"),
    },
    "dead": {
        "cadence_percent": Figure(
            "20 台中 5 台无应答：其余保持的节拍", "5 of 20 dead: cadence the others keep", "%", "≥90"
        ),
        "cadence_percent_first": Figure("其中最初 10 秒", "of that the first 10 s", "%"),
        "cadence_percent_later": Figure("一分钟之后", "after a minute", "%", "≥90"),
        "cadence_percent_reference": Figure("裸 pymodbus", "bare pymodbus", "%"),
    },
    "hostile": {
        "transactions": Figure("恶意从站：请求数", "hostile slaves: requests"),
        "faulty": Figure("其中答错的", "of those answered wrongly"),
        "misattributed": Figure("张冠李戴的值", "values taken for another's", "", "≤0"),
        "misattributed_reference": Figure(
            "裸 pymodbus 每十万次请求读错的", "requests read wrongly by bare pymodbus, per 100,000"
        ),
        "polls": Figure("轮询", "polls"),
        "readings": Figure("其中成功读数", "of those readings"),
        "silent": Figure("无应答", "unanswered"),
        "damaged": Figure("应答损坏", "damaged"),
        "refused": Figure("被拒绝", "refused"),
        **{
            f"lie_{fault}": Figure(f"注入：{zh}", f"injected: {en}")
            for fault, (zh, en) in FAULT_NAMES.items()
        },
    },
    "statistics": {
        "file_mb": Figure("客流统计：10 门 10 年的文件", "visitors of 10 doors, 10 years", "MB", "≤100"),
        "mb_per_door_and_year": Figure("每门每年", "per door and year", "MB", "≤1"),
        "day_ms": Figure("分析一天", "a day's analysis", "ms", "≤200"),
        "month_ms": Figure("分析一月", "a month's analysis", "ms", "≤300"),
        "year_ms": Figure("分析一年", "a year's analysis", "ms", "≤1000"),
        "workbook_s": Figure("一年的 Excel 工作簿", "a year's workbook", "s", "≤10"),
        "facts_per_second": Figure("补读日志库", "catching up with the journal", "/s", "≥10000"),
        "written_mb_per_day": Figure("每天写入存储卡", "written to the card a day", "MB", "≤10"),
    },
    "overload": {
        "ceiling_points_per_second": Figure("单核上限", "the ceiling of one core", "/s"),
        "alarm_p50_ms": Figure("上限处警报 读到→到达 p50", "alarms there, read to arrival, p50", "ms"),
        "alarm_p99_ms": Figure("上限处警报 读到→到达 p99", "alarms there, read to arrival, p99", "ms"),
        **{
            f"{name}_{factor}": figure._replace(
                zh=f"{factor} 倍：{figure.zh}", en=f"{factor} times that: {figure.en}"
            )
            for factor in (1.1, 1.5, 2.0)
            for name, figure in OVERLOAD_FIGURES.items()
        },
        "recovery_s": Figure("减负后恢复", "recovery, once the load is low", "s", "≤10"),
    },
    "siren": {
        "siren_p50_ms": Figure("报警读数→警笛动作 p50", "reading of an alarm to the siren, p50", "ms"),
        "siren_p99_ms": Figure(
            "报警读数→警笛动作 p99", "reading of an alarm to the siren, p99", "ms", "≤200"
        ),
        "siren_samples": Figure("次数", "times"),
    },
    "dashboard": {
        "first_view_kb": Figure("看板：首次打开", "dashboard: a page, first view", "kB", "≤120"),
        "repeat_view_kb": Figure("再次打开", "the same, again", "kB", "≤25"),
        "first_paint_ms": Figure(
            "慢手机（1.6 Mbit/s，150 ms，CPU 1/4）首次显示", "first paint on a slow phone", "ms", "≤1000"
        ),
        "stream_kb_per_s": Figure("无事时的数据流", "its stream while nothing happens", "kB/s", "≤1"),
        "press_p50_ms": Figure("烟感→屏幕 p50", "press to pixel, p50", "ms", "≤300"),
        "press_p99_ms": Figure("烟感→屏幕 p99", "press to pixel, p99", "ms", "≤1000"),
        "press_samples": Figure("次数", "times"),
        "year_curve_ms": Figure("一年每刻钟的曲线", "a year by quarter of an hour, drawn", "ms", "≤300"),
        "process_mb": Figure("进程内存（Pss）", "memory of its process (Pss)", "MB"),
        "crowd_mb": Figure("同上，打开五十页", "the same, fifty pages open", "MB", "≤60"),
        "crowd_export_mb": Figure("同上，导出工作簿之后", "the same, after exports", "MB", "≤60"),
        "end_s": Figure("五十页打开时结束", "to its end, fifty pages open", "s", "≤1"),
    },
    "receiver": {
        "points_per_second": Figure("每条 20 点，存入数据库", "20 points a record, stored", "/s", "≥30000"),
        "cpu_us_per_point": Figure("每点 CPU，接收程序", "CPU per point, receiver", "µs"),
        "postgres_cpu_us_per_point": Figure("每点 CPU，PostgreSQL", "CPU per point, PostgreSQL", "µs"),
        "growth_mb": Figure("内存增长（后四分之三）", "memory growth, last three quarters", "MB", "≤16"),
        "published_points_per_second": Figure("仅用 paho 发布", "published by a bare paho client", "/s"),
        "single_points_per_second": Figure("每条 1 点", "1 point a record", "/s", "≥30000"),
        "single_cpu_us_per_point": Figure("每点 CPU，接收程序", "CPU per point, receiver", "µs"),
        "single_postgres_cpu_us_per_point": Figure("每点 CPU，数据库", "CPU per point, database", "µs"),
        "single_growth_mb": Figure("内存增长", "memory growth", "MB", "≤16"),
    },
    "visitors": {
        "f1": Figure("人员进出：逐次核对的 F1", "visitors, crossing by crossing: F1", "", "≥0.95"),
        "precision": Figure("其中准确率", "of that precision"),
        "recall": Figure("其中召回率", "of that recall"),
        "f1_worst": Figure("最差的一段", "the worst clip", "", "≥0.85"),
        "f1_plain": Figure("常见做法（MOG2 加最近质心）", "a plain counter: MOG2 and nearest centroid"),
        "f1_plain_worst": Figure("其最差的一段", "its worst clip"),
        "cpu_ms_per_frame": Figure("俯视每帧 CPU（含解码）", "CPU per overhead frame", "ms", "≤3"),
        "cpu_percent": Figure("四路摄像头占用核", "four cameras, of a core", "%", "≤25"),
        "fps": Figure("四路摄像头每路每秒看的帧数", "frames a second each looks at", "/s", "≥14"),
        "pss_mb": Figure("四路摄像头内存（Pss）", "memory of the four (Pss)", "MB", "≤150"),
    },
}  # fmt: skip
