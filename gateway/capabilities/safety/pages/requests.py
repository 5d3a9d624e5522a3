"""Requests about alarms, detectors, drills, patrols and findings."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from gateway.model import GATEWAY_DEVICE, Hazard, Role
from gateway.web.commands import (
    NO_TARGET,
    CommandRequest,
    DeviceRequest,
    DurationS,
    NonEmptyText,
    PeopleCount,
    RequestContext,
    Target,
)
from gateway.web.pages import label
from gateway.web.settings import title_in
from gateway.words import translate

from .view import AlarmRow, OutOfServiceRow, SafetyView


class AlarmRequest(CommandRequest, frozen=True):
    """A request about an alarm that has not ended, or a drill."""

    no_target_sentence: ClassVar[str] = "dashboard.gone"
    alarm: str

    def target(self, context: RequestContext) -> Target:
        part: SafetyView = context.part
        shown: list[tuple[AlarmRow | OutOfServiceRow, Hazard]] = [
            *((row, row.hazard) for row in (*part.alarms, *part.drills) if row.id == self.alarm),
            *((row, row.hazards[0]) for row in part.out if row.alarm == self.alarm),
        ]
        for row, hazard in shown:
            # Alarms of rules and outputs have no configured device: the command goes to the gateway.
            device = row.device if context.settings.device(row.device) else GATEWAY_DEVICE
            where = title_in(row.rule or row.title, context.lang, label(context.lang, "kind", row.device))
            return Target((device,), {"hazard": label(context.lang, "hazard", hazard), "device": where})
        return NO_TARGET


class Acknowledge(AlarmRequest, frozen=True):
    """Acknowledges an alarm: a person has seen it."""

    role = Role.DUTY


class Reset(AlarmRequest, frozen=True):
    """Resets an alarm after a person has checked that it is over; also ends a drill."""

    role = Role.DUTY

    def least_role(self, context: RequestContext) -> Role:
        return Role.MANAGER if self._is_drill(context) else super().least_role(context)

    def done_sentence(self, context: RequestContext) -> str:
        return "dashboard.done-drill-end" if self._is_drill(context) else super().done_sentence(context)

    def _is_drill(self, context: RequestContext) -> bool:
        part: SafetyView = context.part
        return any(drill.id == self.alarm for drill in part.drills)


class Shelve(AlarmRequest, frozen=True):
    """Shelves an alarm: no sound and notifications for a limited time."""

    role = Role.MANAGER
    seconds: DurationS
    why: NonEmptyText

    def target(self, context: RequestContext) -> Target:
        part: SafetyView = context.part
        if any(row.id == self.alarm and row.acknowledge_first for row in part.alarms):
            return Target((), refusal="dashboard.acknowledge-first")
        return super().target(context)


class Unshelve(AlarmRequest, frozen=True):
    """Ends the shelving of an alarm."""

    role = Role.DUTY


class CompletePlanStep(AlarmRequest, frozen=True, tag="step"):
    """Marks a step of the emergency plan as done."""

    role = Role.DUTY
    step: str


class ReopenPlanStep(AlarmRequest, frozen=True, tag="unstep"):
    """Corrects a step that was marked as done by mistake."""

    role = Role.DUTY
    step: str


class Muster(AlarmRequest, frozen=True):
    """Records the head count."""

    role = Role.DUTY
    found: PeopleCount


class SafetyDeviceRequest(DeviceRequest, frozen=True):
    """A request about a configured safety device."""

    def target(self, context: RequestContext) -> Target:
        device = context.settings.device(self.device)
        if device is None or not device.is_safety_device:
            return NO_TARGET
        return Target((device.name,), {"device": title_in(device.title, context.lang, device.name)})


class AcknowledgeAll(SafetyDeviceRequest, frozen=True):
    """Acknowledges all alarms of a device that the page showed."""

    role = Role.DUTY
    seen: int

    @property
    def action(self) -> str:
        return "acknowledge"


class ResetAll(SafetyDeviceRequest, frozen=True):
    """Resets all alarms of a device that the page showed and that are over."""

    role = Role.DUTY
    seen: int

    @property
    def action(self) -> str:
        return "reset"


class Disable(SafetyDeviceRequest, frozen=True):
    """Disables a device (屏蔽) for a limited time."""

    role = Role.MANAGER
    seconds: DurationS
    why: NonEmptyText


class Enable(SafetyDeviceRequest, frozen=True):
    """Enables a disabled device."""

    role = Role.DUTY


class WalkTestRequest(SafetyDeviceRequest, frozen=True):
    """A request about one device or, with an empty name, all devices of the walk test."""

    def target(self, context: RequestContext) -> Target:
        if self.device:
            return super().target(context)
        part: SafetyView = context.part
        devices = tuple(dict.fromkeys(detector.device for detector in part.detectors))
        return Target(devices, {"device": translate(context.lang, "dashboard.all-detectors")})


class BeginTest(WalkTestRequest, frozen=True, tag="test"):
    """Starts test mode."""

    role = Role.DUTY
    seconds: DurationS


class EndTest(WalkTestRequest, frozen=True):
    """Ends test mode."""

    role = Role.DUTY


class Mute(CommandRequest, frozen=True):
    """Mutes the current sound."""

    role = Role.DUTY


class Drill(CommandRequest, frozen=True):
    """Starts a drill."""

    role = Role.MANAGER
    hazard: Hazard

    def target(self, context: RequestContext) -> Target:
        return Target(facts={"hazard": label(context.lang, "hazard", self.hazard)})


class CheckIn(CommandRequest, frozen=True):
    """Checks in at a checkpoint of a patrol."""

    role = Role.DUTY
    patrol: str
    checkpoint: str
    note: Annotated[str, msgspec.Meta(max_length=200)] = ""

    def target(self, context: RequestContext) -> Target:
        part: SafetyView = context.part
        patrol = part.patrols.get(self.patrol)
        return Target() if patrol is not None and self.checkpoint in patrol.checkpoints else NO_TARGET


class ReportFinding(CommandRequest, frozen=True, tag="hazard-found"):
    """Reports a finding (隐患)."""

    role = Role.DUTY
    where: NonEmptyText
    what: NonEmptyText
    severity: str

    def target(self, context: RequestContext) -> Target:
        part: SafetyView = context.part
        return Target() if self.severity in part.severities else NO_TARGET


class CloseFinding(CommandRequest, frozen=True, tag="hazard-closed"):
    """Closes a finding."""

    role = Role.DUTY
    id: str
    what: NonEmptyText

    def target(self, context: RequestContext) -> Target:
        part: SafetyView = context.part
        return Target() if any(finding.id == self.id for finding in part.findings) else NO_TARGET


REQUESTS: tuple[type[CommandRequest], ...] = (
    Acknowledge,
    AcknowledgeAll,
    Reset,
    ResetAll,
    Shelve,
    Unshelve,
    CompletePlanStep,
    ReopenPlanStep,
    Muster,
    Disable,
    Enable,
    BeginTest,
    EndTest,
    Mute,
    Drill,
    CheckIn,
    ReportFinding,
    CloseFinding,
)
