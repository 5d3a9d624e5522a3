"""Made-up views of safety, for the gallery."""

from __future__ import annotations

from gateway.capabilities.safety.services.alarms import LINK_POINT, AlarmMode, AlarmState
from gateway.capabilities.safety.services.emergency_plans import EmergencyPlan, PlanStep
from gateway.model import Hazard
from gateway.web.gallery import LONG_NAMES, GalleryMoment

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
                "id": f"{hazard}/1", "device": "smoke", "title": title, "hazard": hazard,
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
        AlarmMode.DISABLED, "smoke", smoke, (Hazard.FIRE,), {}, "", "王芳", "装修除尘", now + 3_600_000
    )
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
        outputs=() if state == "empty" else (OutputRow("siren", smoke, "siren", "on", "off", True, ()),),
        detectors=() if state == "empty" else (DetectorRow("smoke", smoke, "smoke", due=True),),
        findings=()
        if state == "empty"
        else (FindingRow("f1", "二层楼道", "灭火器过期", "major", "王芳", now, now + 86_400_000, False),),
        plans={Hazard.FIRE: PLAN},
        severities=("minor", "major"),
        blind=1 if state == "stale" else 0,
    )  # fmt: skip
