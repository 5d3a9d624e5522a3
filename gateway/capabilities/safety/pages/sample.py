"""Made-up views and records of safety, for the gallery."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.capabilities.safety.services.alarms import LINK_POINT, AlarmMode, AlarmState
from gateway.capabilities.safety.services.emergency_plans import EmergencyPlan, PlanStep
from gateway.capabilities.safety.services.shift_log import DutyShift, Remark, ShiftLog
from gateway.model import GATEWAY_DEVICE, Fact, Hazard, Lane
from gateway.web.gallery import LONG_NAMES, GalleryMoment, SampleFiles

from .settings import SafetySettings
from .view import (
    AlarmRow,
    CaseRow,
    DetectorRow,
    FindingRow,
    OutOfServiceRow,
    OutputRow,
    PlanStepRow,
    ReducedProtection,
    SafetyView,
)

DEVICE = "smoke-hall"
SMOKE = {"zh": "一层活动室烟感", "en": "Hall smoke detector"}
FRIDGE = {"zh": "厨房冰箱", "en": "Kitchen fridge"}
STEPS = {
    "look": PlanStep(
        who={"zh": "值班员", "en": "Duty officer"},
        do={"zh": "到场查看，确认火情", "en": "Go there and see whether it burns"},
    ),
    "call": PlanStep(
        who={"zh": "值班员", "en": "Duty officer"}, do={"zh": "报警", "en": "Call the brigade"}, call="119"
    ),
    "leave": PlanStep(
        who={"zh": "各楼层人员", "en": "Everyone on duty"},
        do={
            "zh": "组织疏散，到集合点清点人数",
            "en": "Lead people out and count them",
        },
    ),
}
PLAN = EmergencyPlan(
    hazard=Hazard.FIRE,
    title={"zh": "火灾应急预案", "en": "Fire"},
    source={"zh": "示例", "en": "Example"},
    steps=STEPS,
)


def sample(moment: GalleryMoment) -> SafetyView:
    """The view at a moment of the gallery."""
    state, now = moment
    smoke = LONG_NAMES if state == "long-names" else SMOKE

    def alarm(hazard: Hazard, title: dict[str, str], **fields: object) -> AlarmRow:
        return AlarmRow(
            **{
                "id": f"{hazard}/1", "device": DEVICE, "title": title, "hazard": hazard,
                "state": AlarmState.ACTIVE, "point": "smoke", "value": True, "unit": "",
                "raised": now - 95_000, "by": "", "acknowledge_first": True, **fields,
            }  # type: ignore[arg-type]
        )  # fmt: skip

    def case(done: int) -> CaseRow:
        steps = tuple(
            PlanStepRow(key, "李强", now - 40_000) if number < done else PlanStepRow(key)
            for number, key in enumerate(STEPS)
        )
        return CaseRow(steps, 20 if done else None, "王芳" if done else "", now - 20_000)

    fire = alarm(Hazard.FIRE, smoke, inside=31, case=case(0), sounds=True)
    kitchen = {"zh": "厨房烟感", "en": "Kitchen smoke detector"}
    first = alarm(
        Hazard.FIRE, kitchen, id="fire/0", raised=now - 130_000, by="王芳", state=AlarmState.ACKNOWLEDGED,
        is_first_fire=True,
    )  # fmt: skip
    gas = alarm(Hazard.GAS, {"zh": "厨房燃气", "en": "Kitchen gas"}, point="lel", value=22.5, unit="%LEL")
    fault = alarm(Hazard.FAULT, FRIDGE, point=LINK_POINT, value="timeout", acknowledge_first=False)
    seen = alarm(Hazard.FIRE, smoke, inside=31, case=case(2), by="李强", state=AlarmState.ACKNOWLEDGED)
    drill = alarm(Hazard.FIRE, {}, id="drill/fire/1", inside=31, case=case(1), drill=True)
    out = OutOfServiceRow(
        AlarmMode.DISABLED, DEVICE, smoke, (Hazard.FIRE,), {}, "", "王芳", "装修除尘", now + 3_600_000
    )
    title = moment.named("服务台警笛", "Siren at the service desk")
    siren = OutputRow("siren", title, "desk", "siren-on", "off", True, ())
    is_reduced = state in ("reduced", "long-names")
    return SafetyView(
        alarms={
            "alarm": (fire, gas, first), "acknowledged": (seen,), "fault": (fault,),
            "long-names": (fire, fault),
        }.get(state, ()),
        ended=(),
        drills=(drill,) if state == "drill" else (),
        out=(out,) if is_reduced else (),
        reduced=(ReducedProtection(out.mode, out.by, out.why, out.until, (out,), 0),) if is_reduced else (),
        outputs=() if state == "empty" else (siren,),
        detectors=() if state == "empty" else (DetectorRow(DEVICE, smoke, "smoke", due=True),),
        findings=()
        if state == "empty"
        else (FindingRow("f1", "二层楼道", "灭火器过期", "major", "王芳", now, now + 86_400_000, False),),
        plans={Hazard.FIRE: PLAN},
        severities=("minor", "major"),
        is_monitored=state != "empty",
        blind=1 if state == "stale" else 0,
    )  # fmt: skip


MINUTE_S, HOUR_S = 60.0, 3600.0
SHIFT = "shift/1"
"""The key of the one that has ended."""


def fill_sample(_settings: SafetySettings, files: SampleFiles) -> None:
    """Some hours of a centre: alarms, a drill, a walk test and two shifts."""
    now = files.ago
    first = DutyShift(
        by="李强", began=now(10 * HOUR_S), ended=now(2 * HOUR_S), signed=True, ended_by="李强",
        counts={"alarms": 2, "faults": 1, "acknowledged": 2, "drills": 1},
        remarks=(Remark("李强", now(6 * HOUR_S), "三楼灯管已报修，电工明早来换。"),),
        amendments=(Remark("王芳", now(HOUR_S), "灯管已换好。"),),
    )  # fmt: skip
    second = DutyShift(by="王芳", began=now(2 * HOUR_S), taken_from="李强")
    facts = [*_alarms(files), *_drill(files), *_walk_test(files), *_events(files)]
    facts.sort(key=lambda fact: fact.at.wall_ms)
    files.journal.append(ShiftLog.name, facts, {SHIFT: first, "shift/2": second})


def _alarm(
    files: SampleFiles, ago_s: float, change: str, alarm: str, raised_s: float, **fields: object
) -> Fact:
    """A change of an alarm; `alarm` is its device, point and number."""
    device, point, _ = alarm.split("/")
    body = {
        "id": alarm, "change": change, "state": "", "point": point, "hazard": Hazard.FIRE, "latch": True,
        "value": True, "raised": files.ago(raised_s).wall_ms, "by": "", "mode": "", "why": "", **fields,
    }  # fmt: skip
    return Fact(Lane.ALARM, device, "alarm", files.ago(ago_s), body)


def _alarms(files: SampleFiles) -> Iterator[Fact]:
    for number, (alarm, ago_s, fields) in enumerate(
        (
            ("smoke-kitchen/smoke", 9 * HOUR_S, {}),
            ("gas-kitchen/lel", 7 * HOUR_S, {"hazard": Hazard.GAS, "value": 22.5}),
            ("fridge-1/link", 5 * HOUR_S, {"hazard": Hazard.FAULT, "value": "timeout", "latch": False}),
            ("smoke-hall/smoke", 3 * HOUR_S, {}),
        ),
        1,
    ):
        for later_s, change, by in (
            (0.0, "raised", ""), (40.0, "acknowledged", "李强"), (240.0, "cleared", ""),
            (300.0, "closed", "李强"),
        ):  # fmt: skip
            yield _alarm(files, ago_s - later_s, change, f"{alarm}/{number}", ago_s, **fields, by=by)


def _drill(files: SampleFiles) -> Iterator[Fact]:
    began_s, drill = 4 * HOUR_S, "drill/fire/1"
    body = {"mode": AlarmMode.DRILL, "by": "王芳", "id": drill, "point": "drill"}
    for ago_s, change in ((began_s, "raised"), (began_s - 10 * MINUTE_S, "closed")):
        yield _alarm(files, ago_s, change, f"{GATEWAY_DEVICE}/drill/1", began_s, **body)
    report = {
        "alarm": drill, "drill": True, "hazard": Hazard.FIRE, "by": "王芳", "seconds": 600,
        "acknowledged": {"by": "李强", "seconds": 45.0}, "steps": {}, "skipped": [], "found": 30,
        "inside": 31, "missing": 1, "ended_by": "王芳",
    }  # fmt: skip
    yield Fact(Lane.EVENT, GATEWAY_DEVICE, "drill-report", files.ago(began_s - 10 * MINUTE_S), report)


def _walk_test(files: SampleFiles) -> Iterator[Fact]:
    began_s = 90 * MINUTE_S
    for number, device in enumerate(("smoke-hall", "smoke-kitchen", "smoke-activity")):
        changes = ((0.0, "test-begun"), (60.0 * number, "tested"), (20 * MINUTE_S, "test-ended"))
        for later_s, change in changes if number else (changes[0], changes[2]):
            body = {"mode": AlarmMode.TEST if change != "test-ended" else "", "by": "王芳"}
            yield _alarm(files, began_s - later_s, change, f"{device}/smoke/9", began_s, **body)


def _events(files: SampleFiles) -> Iterator[Fact]:
    for device, ago_s, kind, body in (
        ("fridge-1", 5 * HOUR_S, "link", {"online": False, "error": "timeout"}),
        ("fridge-1", 4.9 * HOUR_S, "link", {"online": True, "error": ""}),
        (
            GATEWAY_DEVICE, 3.5 * HOUR_S, "hazard-found",
            {"id": "hazard/1", "where": "二层楼道", "what": "灭火器过期", "severity": "major",
             "by": "王芳"},
        ),
        (GATEWAY_DEVICE, 2 * HOUR_S, "shift-ended", {"shift": SHIFT, "by": "李强", "on_duty": "李强"}),
    ):  # fmt: skip
        yield Fact(Lane.EVENT, device, kind, files.ago(ago_s), body)
