"""The calls that the daemon answers on the control socket."""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.base.control import Handler
from gateway.base.security import MAX_SECURITY_EVENTS, SECURITY_EVENTS, SecurityEvent
from gateway.config import Mistakes
from gateway.config.adoption import load_revision_text
from gateway.config.capability import CORE_OWNER, check_unique
from gateway.config.editing import Edit, edited
from gateway.field.health import LiveReading
from gateway.field.line import Line
from gateway.field.scan.requests import decode_points, make_scan_request, parse_keys
from gateway.model import (
    GATEWAY_DEVICE,
    UPLINK_DEVICE,
    Command,
    Fact,
    GatewayError,
    Lane,
    ReadFailed,
    sentence,
)
from gateway.services.commands import CommandStatus

from .gateway import Gateway, jobs_by_capability

READ_TIMEOUT_S = 20.0
"""After this time a call that waits for a message is answered, and may be repeated."""
COMMAND_RESPONSE_TIMEOUT_S = 20.0
"""After this time the answer is that the command is still being executed."""
CORE_CALLS = (
    "health",
    "doctor",
    "read",
    "command",
    "lines",
    "scan",
    "reload",
    "edit",
    "restore",
    "verdict",
    "still",
    "security",
)
"""Each is answered by the method of `ControlCalls` with its name."""
MAX_MISTAKES = 50
"""Mistakes in one answer, which is one line on the socket."""


def check_jobs() -> None:
    """Raises `ConfigError` if the jobs of capabilities are not declared, or use the same names."""
    jobs = [(owner, job) for owner, own in jobs_by_capability().items() for job in own]
    check_unique("Job.name", ((CORE_OWNER, UPLINK_DEVICE), *((owner, job.name) for owner, job in jobs)))
    core_calls = ((CORE_OWNER, call) for call in CORE_CALLS)
    check_unique("Job.calls", (*core_calls, *((owner, call) for owner, job in jobs for call in job.calls)))


def _as_answer(reading: LiveReading) -> dict[str, Any]:
    return {
        "raw": reading.raw,
        "values": reading.sample.values,
        "bad": reading.sample.bad,
        "seconds": reading.duration_s,
    }


class ControlCalls(Mapping[str, Handler]):
    """Every handler by the name of its call: the core's own, and those of the jobs that run now."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def __getitem__(self, name: str) -> Handler:
        return self._handlers()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers())

    def __len__(self) -> int:
        return len(self._handlers())

    def _handlers(self) -> dict[str, Handler]:
        return {
            **{name: getattr(self, f"_{name}") for name in CORE_CALLS},
            **{
                call: functools.partial(job.answer, call)
                for job in self._gateway.jobs
                for call in job.calls
            },
        }

    async def _health(self, _: dict[str, Any]) -> dict[str, Any]:
        return self._gateway.health()

    async def _doctor(self, _: dict[str, Any]) -> dict[str, Any]:
        return self._gateway.doctor_report()

    async def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        """One reading; of a device that reports by itself the last message, with its `age`. If it has sent
        none, or `next` is set, the answer is the longest wait in seconds, `waits`; with `wait` a call waits
        for `READ_TIMEOUT_S` of that."""
        name = str(request.get("device"))
        line = self._gateway.line_of(name)
        last = None if request.get("next") else line.last_reading(name)
        if last:
            return {**_as_answer(last), "age": last.duration_s}
        waits_s = line.longest_wait_s(name)
        if waits_s and not request.get("wait"):
            failure = line.health.devices[name].last_failure
            if failure and not request.get("next"):
                raise failure
            return {"waits": waits_s}
        try:
            async with asyncio.timeout(READ_TIMEOUT_S if waits_s else None):
                return _as_answer(await line.read(name))
        except TimeoutError:
            return {"waits": waits_s}

    async def _lines(self, _: dict[str, Any]) -> dict[str, Any]:
        """The port or host of each line that nothing else can use at the same time."""
        specs = (line.spec for line in self._gateway.lines.values())
        scans = ((spec, spec.driver.scan) for spec in specs)
        places = {
            spec.name: scan.target_of(spec.options) for spec, scan in scans if scan and not scan.shareable
        }
        return {"lines": places}

    def _line(self, request: dict[str, Any]) -> Line:
        """The line that a request names. Raises `GatewayError` if there is none."""
        lines = self._gateway.lines
        line = lines.get(str(request.get("bus")))
        if line is None:
            raise GatewayError("bus-unknown", bus=request.get("bus"), known=", ".join(lines))
        return line

    async def _scan(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request of a scan to a device that is not configured, on a line of this gateway."""
        line = self._line(request)
        driver = line.spec.driver
        address = parse_keys(driver.address, request.get("address", {}))
        for device in self._gateway.site.devices.values():
            if device.bus == line.spec.name and device.address == address:
                raise GatewayError("scan-configured", device=device.name)
        points = decode_points(driver, request["points"]) if "points" in request else None
        ask = make_scan_request(driver, address, str(request.get("model")), points)
        try:
            answer = await line.run_scan_request(ask)
        except ReadFailed as failed:
            return {"nobody": failed.key, "kind": failed.kind}
        return dict(answer)

    async def _command(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            own = {"at": self._gateway.clock.now(), "key": "", "attachment": ""}
            command = msgspec.convert({**request, **own}, Command)
        except msgspec.ValidationError as error:
            raise GatewayError("command-form", reason=error) from error
        if command.origin not in ("dashboard", "console"):
            raise GatewayError("command-form", reason=sentence("cause.field-wrong", where="origin"))
        # A client can repeat the call with the same id, to learn the outcome of a slow command.
        task = self._gateway.start_background_task(self._gateway.engine.submit_command(command))
        done, _ = await asyncio.wait({task}, timeout=COMMAND_RESPONSE_TIMEOUT_S)
        if not done:
            return {"status": CommandStatus.ACCEPTED, "detail": ""}
        order = task.result()
        return {"status": order.status, "detail": order.detail, "facts": order.facts}

    async def _reload(self, request: dict[str, Any]) -> dict[str, Any]:
        returning = request.get("returning") is not False
        reloader = self._gateway.reloader
        try:
            return await self._gateway.run_shielded(reloader.reload("console", returning=returning))
        except Mistakes as wrong:
            return {"mistakes": [mistake.as_json() for mistake in wrong.mistakes[:MAX_MISTAKES]]}

    async def _edit(self, request: dict[str, Any]) -> dict[str, Any]:
        """Change values of the site file, or of another `source`, for a `person` who saw the configuration
        of a `digest`."""
        try:
            edits = msgspec.convert(request.get("edits"), list[Edit])
        except msgspec.ValidationError as error:
            raise GatewayError("command-form", reason=error) from error
        return await self._replace_text(request, lambda text: edited(text, edits))

    async def _restore(self, request: dict[str, Any]) -> dict[str, Any]:
        """The site file of an earlier `revision` again."""
        number = request.get("revision")
        text = None
        if isinstance(number, int):
            text = await asyncio.to_thread(load_revision_text, self._gateway.site.journal.path, number)
        if text is None:
            raise GatewayError("revision-unknown", revision=number)
        return await self._replace_text(request, lambda _: text)

    async def _replace_text(self, request: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
        digest, source = str(request.get("digest")), str(request.get("source", ""))
        person = str(request.get("person", ""))[:64]
        reloader = self._gateway.reloader
        try:
            return await self._gateway.run_shielded(reloader.replace_text(digest, source, change, person))
        except Mistakes as wrong:
            return {"mistakes": [mistake.as_json() for mistake in wrong.mistakes[:MAX_MISTAKES]]}

    async def _verdict(self, _: dict[str, Any]) -> dict[str, Any]:
        return await self._gateway.reloader.verdict()

    async def _security(self, request: dict[str, Any]) -> dict[str, Any]:
        """Security events of another process."""
        try:
            events = msgspec.convert(request.get("events"), list[SecurityEvent])
        except msgspec.ValidationError as error:
            raise GatewayError("command-form", reason=error) from error
        if len(events) > MAX_SECURITY_EVENTS or any(each.event not in SECURITY_EVENTS for each in events):
            raise GatewayError("command-form", reason=sentence("cause.field-wrong", where="events"))
        self._gateway.record_security_events(events)
        return {}

    async def _still(self, request: dict[str, Any]) -> dict[str, Any]:
        """A camera's picture, for setting it up; who requested it is recorded first."""
        line = self._line(request)
        if not line.spec.stills:
            raise ReadFailed("stills-off")
        gateway = self._gateway
        body = {"camera": line.spec.name, "by": str(request.get("by", ""))[:64]}
        gateway.record_fact(Fact(Lane.EVENT, GATEWAY_DEVICE, "still", gateway.clock.now(), body))
        await gateway.journal.commit()
        return {"jpeg": base64.b64encode(await line.capture_still()).decode()}
