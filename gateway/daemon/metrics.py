"""Prometheus metrics and the health check, read from the live objects on request."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from gateway.base.log import log_event
from gateway.config import MetricsOptions
from gateway.field.line import Line
from gateway.journal import Journal
from gateway.model import Value
from gateway.services.presence import DeviceState, count_states
from gateway.uplink import ALARM_DELAY_BUCKETS_S, Uplink
from gateway.wire.http_server import HttpRequest, HttpResponse, serve_http
from gateway.wire.mqtt import Connection

from .loop_lag import LAG_BUCKETS_S, LoopLag
from .overload import Overload
from .reload import Reloader


class MeasuredGateway(Protocol):
    """The gateway, as far as metrics and health check use it."""

    journal: Journal
    reloader: Reloader
    loop_lag: LoopLag
    overload: Overload
    idle_s: Callable[[], float]

    @property
    def lines(self) -> Mapping[str, Line]:
        """The open lines by the name of their bus."""
        ...

    @property
    def uplinks(self) -> Mapping[str, Uplink]:
        """The connections to platforms, by name."""
        ...

    def capability_figures(self) -> Mapping[str, Mapping[str, Value]]:
        """The present figures that capabilities declare, by service."""
        ...

    def device_states(self) -> Mapping[str, DeviceState]:
        """The state of each device."""
        ...

    def health(self) -> dict[str, Any]:
        """The answer of /healthz; `ok` decides its status."""
        ...


class GatewayCollector(Collector):
    """The gateway's own figures: prefix `linli_`, base units, `_total` for counters."""

    def __init__(self, gateway: MeasuredGateway) -> None:
        self._gateway = gateway
        self._journal = gateway.journal

    def collect(self) -> Iterable[Metric]:
        yield from self._collect_buses()
        yield from self._collect_journal()
        yield from self._collect_figures()
        yield from self._collect_loop()
        text = "The revision of the configuration that holds."
        yield GaugeMetricFamily("linli_config_revision", text, value=self._gateway.reloader.revision.number)
        yield from self._collect_uplinks()

    def _collect_uplinks(self) -> Iterable[Metric]:
        online = GaugeMetricFamily(
            "linli_uplink_up", "Whether the platform is connected.", labels=["uplink"]
        )
        sent = CounterMetricFamily(
            "linli_uplink_messages", "Messages the platform has acknowledged.", labels=["uplink", "lane"]
        )
        delays = HistogramMetricFamily(
            "linli_alarm_delivery_seconds",
            "From the reading of an alarm to the platform's acknowledgement.",
            labels=["uplink"],
        )
        for name, uplink in self._gateway.uplinks.items():
            online.add_metric([name], uplink.is_online)
            for lane, count in uplink.acknowledged_messages.items():
                sent.add_metric([name, lane.name.lower()], count)
            counts = _buckets(ALARM_DELAY_BUCKETS_S, uplink.alarm_delay_counts)
            delays.add_metric([name], counts, uplink.alarm_delay_sum_s)
        return online, sent, delays

    def _collect_loop(self) -> Iterable[Metric]:
        lag = self._gateway.loop_lag
        lags = HistogramMetricFamily("linli_loop_lag_seconds", "How late the event loop does what is due.")
        lags.add_metric([], _buckets(LAG_BUCKETS_S, lag.counts), lag.sum_s)
        text = "The longest lag of the event loop in the last minutes."
        yield from (lags, GaugeMetricFamily("linli_loop_lag_worst_seconds", text, value=lag.worst_s))
        text = "Time in which the event loop had nothing to do."
        yield CounterMetricFamily("linli_loop_idle_seconds", text, value=self._gateway.idle_s())
        text = "How many times longer than configured the poll periods are; more than 1 while overloaded."
        yield GaugeMetricFamily("linli_poll_stretch", text, value=self._gateway.overload.stretch)

    def _collect_figures(self) -> Iterable[Metric]:
        """The figures that capabilities declare."""
        figures = GaugeMetricFamily(
            "linli_figure", "A figure that a service of the centre concludes.", labels=["service", "figure"]
        )
        for service, values in self._gateway.capability_figures().items():
            for name, value in values.items():
                if isinstance(value, int | float):
                    figures.add_metric([service, name], value)
        yield figures

    def _collect_buses(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("linli_bus_up", "Whether the line is open.", labels=["bus"])
        polls = CounterMetricFamily("linli_polls", "Polls and pushed messages.", labels=["bus"])
        failures = CounterMetricFamily("linli_poll_failures", "Polls without a reading.", labels=["bus"])
        missed = CounterMetricFamily(
            "linli_polls_missed", "Polls a busy line had no time for.", labels=["bus"]
        )
        busy = CounterMetricFamily("linli_bus_busy_seconds", "Time spent in transactions.", labels=["bus"])
        devices = GaugeMetricFamily(
            "linli_devices", "Devices by what is known of them.", labels=["bus", "state"]
        )
        states = self._gateway.device_states()
        for line in self._gateway.lines.values():
            label, stats = [line.spec.name], line.counters
            own = (states[name] for name in line.health.devices if name in states)
            for state, count in count_states(own).items():
                devices.add_metric([line.spec.name, state], count)
            up.add_metric(label, stats.is_up)
            polls.add_metric(label, stats.polls)
            failures.add_metric(label, stats.failures)
            missed.add_metric(label, stats.missed)
            busy.add_metric(label, stats.busy_s)
        return up, devices, polls, failures, missed, busy

    def _collect_journal(self) -> Iterable[Metric]:
        rows = GaugeMetricFamily(
            "linli_journal_unacknowledged_rows",
            "Rows the platform has not acknowledged.",
            labels=["uplink", "lane"],
        )
        for name, delivery in self._journal.deliveries.items():
            for lane in delivery.streams.lanes:
                behind = self._journal.committed_pos[lane] - delivery.positions[lane]
                rows.add_metric([name, lane.name.lower()], behind)
        journal = self._journal
        for name, text, value in (
            (
                "linli_journal_bytes",
                "What the journal takes on the disk, log and reserve included.",
                journal.size_bytes,
            ),
            (
                "linli_journal_window_seconds",
                "Seconds between two commits of telemetry.",
                journal.card_wear.window_s,
            ),
            (
                "linli_storage_written_bytes_per_day",
                "Bytes a day to the card at today's pace.",
                journal.card_wear.bytes_per_day,
            ),
            (
                "linli_storage_life_years",
                "How long the card lasts at that pace.",
                journal.card_wear.lifetime_years,
            ),
            ("linli_dead_letters", "Records the broker would not take.", journal.dead_letter_count),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        for name, text, count in (
            ("linli_storage_written_bytes", "Bytes written to the card.", journal.card_wear.bytes_written),
            (
                "linli_records_dropped",
                "Records given up, each told in a gap record.",
                journal.dropped_count,
            ),
            ("linli_mqtt_dropped", "MQTT messages that came too fast to be taken.", Connection.dropped),
            ("linli_journal_damaged_rows", "Rows whose checksum is wrong.", journal.reader.damaged),
        ):
            yield CounterMetricFamily(name, text, value=count)
        well = GaugeMetricFamily("linli_journal_writable", "Whether the last commit succeeded.")
        well.add_metric([], self._journal.failure is None)
        commits = CounterMetricFamily("linli_journal_commits", "Transactions, each synced to the disk.")
        commits.add_metric([], self._journal.commit_count)
        yield from (rows, well, commits)


def _buckets(limits: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Cumulative counts by their upper limits, the last of which is infinite."""
    return list(zip([*map(str, limits), "+Inf"], itertools.accumulate(counts), strict=True))


async def serve(options: MetricsOptions, gateway: MeasuredGateway) -> None:
    """Answer /metrics and /healthz on the event loop itself, so that a blocked loop does not look healthy.

    If the port is taken, that is logged, and the gateway runs without metrics.
    """
    registry = CollectorRegistry()
    registry.register(GatewayCollector(gateway))
    ProcessCollector(registry=registry)

    turn = asyncio.Lock()

    async def answer(request: HttpRequest) -> HttpResponse:
        async with turn:
            await asyncio.sleep(0)  # Other tasks run between two answers, however many are wanted.
            return respond(request)

    def respond(request: HttpRequest) -> HttpResponse:
        if request.path == ("metrics",):
            return HttpResponse(200, {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}, generate_latest(registry))
        if request.path == ("healthz",):
            state = gateway.health()
            status = 200 if state["ok"] else 503
            return HttpResponse(status, {"Content-Type": "application/json"}, msgspec.json.encode(state))
        return HttpResponse(404, {"Content-Type": "text/plain; charset=utf-8"}, b"/metrics, /healthz\n")

    try:
        async with serve_http(options.host, options.port, answer):
            await asyncio.Event().wait()
    except OSError as error:
        log_event(logging.ERROR, "port-taken", host=options.host, port=options.port, reason=error)
