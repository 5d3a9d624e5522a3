"""The monthly log, from the facts that the services themselves conclude."""

import asyncio
import json
import re
import signal
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from gateway.base import control
from gateway.base.clock import local_time
from gateway.capabilities.safety.printing import printed_log
from gateway.capabilities.safety.site import SafetySite
from gateway.capabilities.safety.testlog import LogNames, PeriodLog, log_names, log_tables
from gateway.config import Site, load_site
from gateway.model import ClockQuality, Command, Lane, Message, Record, Sample, Stamp, Tick
from tests.gateway.all_services import services
from tests.gateway.conftest import Centre, linli
from tests.gateway.simulate.conftest import eventually

SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = { zh = "示范中心", en = "Demo centre" }

[bus.line]
driver = "modbus"
url = "tcp://127.0.0.1:502"

[device.smoke-hall]
profile = "smoke/generic-rs485"
title = { zh = "大厅烟感", en = "Hall smoke" }
bus = "line"
unit = 1

[device.smoke-attic]
profile = "smoke/generic-rs485"
bus = "line"
unit = 2

[patrol.day]
title = { zh = "日巡查", en = "Day patrol" }
checkpoints = { exit = { zh = "出口", en = "Exit" }, kitchen = { zh = "厨房", en = "Kitchen" } }
every = "daily"
"""
NOON = 1_796_097_600_000
"""1 December 2026, 12:00 in Shanghai."""
HOUR = 3600.0


class Gateway:
    """All services, as the engine steps them, and the records they make."""

    def __init__(self, folder: Path) -> None:
        file = folder / "site.toml"
        file.write_text(SITE, "utf-8")
        self.site: Site = load_site(file)
        self.local = local_time(self.site.centre.timezone)
        self.names = log_names(self.site)
        allowed = {"console": [action for each in services({}, {}) for action in each.actions]}
        self.services = services(
            self.site.devices, allowed, (), self.local, self.site.part(SafetySite).duties
        )
        self.rows: dict[str, dict[str, Any]] = {service.name: {} for service in self.services}
        self.records: list[Record] = []

    def at(self, second: float) -> Stamp:
        return Stamp(NOON + round(second * 1000), round(second * 1e9), "boot", ClockQuality.SYNCED)

    def step(self, message: Message) -> None:
        for service in self.services:
            if isinstance(message, Command) and message.action not in service.actions:
                continue
            self._one(service, message)

    def _one(self, service: Any, message: Message) -> None:
        rows = self.rows[service.name]
        changes, facts = service.apply(rows, message)
        rows.update(changes)
        self.rows[service.name] = {key: row for key, row in rows.items() if row is not None}
        for fact in facts:
            self.records.append(Record(fact.lane, fact.device, 1, fact.kind, fact.at, fact.body))
            if fact.lane is Lane.ALARM:
                for follower in self.services:
                    if follower.follows_alarms:
                        self._one(follower, fact)

    def read(self, second: float, device: str = "smoke-hall", **values: Any) -> None:
        self.step(Sample(device, self.at(second), values))

    def tick(self, second: float) -> None:
        self.step(Tick(self.at(second), "2026-12-01"))

    def do(self, second: float, action: str, device: str = "gateway", by: str = "王", **args: Any) -> None:
        at = self.at(second)
        self.step(
            Command(
                id=f"{second}", at=at, device=device, action=action, args=args,
                expires=at.wall_ms + 1, origin="console", by=by,
            )
        )  # fmt: skip

    def alarm(self, key: str) -> str:
        return str(self.rows["safety"][key].id)

    def log(self, period: str = "2026-12") -> PeriodLog:
        log = PeriodLog(period, self.names, self.local)
        for record in self.records:
            log.add_record(record)
        return log


def a_month(folder: Path) -> Gateway:
    """A test, a fire, a drill, a disablement, a missed patrol and a hazard."""
    gateway = Gateway(folder)
    gateway.do(60, "test", "smoke-hall", by="李", point="smoke")
    gateway.read(70, smoke=True)
    gateway.read(80, smoke=False)
    gateway.tick(100)
    gateway.do(120, "end-test", "smoke-hall")
    gateway.read(HOUR, smoke=True)
    gateway.do(HOUR + 30, "acknowledge", alarm=gateway.alarm("smoke-hall/smoke"))
    gateway.read(HOUR + 60, smoke=False)
    gateway.tick(HOUR + 90)
    gateway.do(HOUR + 120, "reset", alarm=gateway.alarm("smoke-hall/smoke"))
    gateway.do(2 * HOUR, "drill", by="赵", hazard="fire")
    drill = gateway.alarm("drill/fire")
    gateway.do(2 * HOUR + 60, "step", alarm=drill, step="confirm")
    gateway.do(2 * HOUR + 90, "muster", alarm=drill, found=12)
    gateway.do(2 * HOUR + 600, "reset", alarm=drill)
    gateway.do(3 * HOUR, "disable", "smoke-attic", point="smoke", why="装修<b>")
    gateway.tick(13 * HOUR)
    gateway.do(20 * HOUR, "check-in", patrol="day", checkpoint="exit")
    gateway.tick(37 * HOUR)
    gateway.do(40 * HOUR, "hazard-found", where="后门", what="<script>alert(1)</script>")
    gateway.do(41 * HOUR, "hazard-closed", by="李", id=next(iter(gateway.rows["hazards"])), what="已搬开")
    return gateway


def test_everything_of_the_month_is_in_its_table(tmp_path: Path) -> None:
    gateway = a_month(tmp_path)
    sensors, drills, patrols, hazards = (
        {row[0]: row[1:] for row in table.rows} for table in log_tables(gateway.log(), gateway.names, "zh")
    )
    assert sensors["大厅烟感"] == ["感烟探测器", "12-01 12:01 烟雾 李", "12-01 13:00 烟雾 王", "", ""]
    assert sensors["smoke-attic"] == ["感烟探测器", "本月未测试", "", "", "12-01 15:00 烟雾 王 装修<b>"]
    (drill,) = drills.values()
    assert drill[:4] == ["火警", "赵", "10.0 分钟", "1/11"]
    assert "119" in drill[4]
    assert drill[5] == "12/?"
    assert patrols == {"日巡查": ["0", "2026-12-02/01 厨房", ""]}
    (hazard,) = hazards.values()
    assert hazard == [
        "后门",
        "<script>alert(1)</script>",
        "一般",
        "王",
        "已搬开",
        "李",
        "1.0 小时",
    ]


def test_a_place_behind_a_device_is_in_the_log(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    places = {"1/2": "二楼走廊", "*": ""}
    gateway.step(Sample("smoke-hall", gateway.at(60), {"smoke": True}, places={"smoke": places}))
    sensors, *_ = log_tables(gateway.log(), gateway.names, "zh")
    alarms = {row[0]: row[3] for row in sensors.rows}["大厅烟感"]
    assert sorted(alarms.splitlines()) == ["12-01 12:01 烟雾 二楼走廊 1/2", "12-01 12:01 烟雾 及其他部位"]


def test_what_is_no_device_has_a_title_and_a_long_list_is_cut(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    body = {"id": "outputs/siren.failed/1", "change": "raised", "point": "siren.failed", "hazard": "fault"}
    names = LogNames(outputs={"siren": {"zh": "警笛", "en": "Siren"}})
    log = PeriodLog("2026-12", names, gateway.local)
    for second in range(100):
        log.add_record(Record(Lane.ALARM, "outputs", second, "alarm", gateway.at(second), body))
    body = {
        "id": "smoke/smoke/1",
        "change": "tested",
        "point": "smoke",
        "hazard": "fire",
        "by": "dashboard",
    }
    log.add_record(Record(Lane.ALARM, "smoke", 1, "alarm", gateway.at(0), body))
    (name, _, _, _, faults, _), tested = log_tables(log, names, "zh")[0].rows
    assert tested[2] == "12-01 12:00 烟雾 看板"
    lines = faults.splitlines()
    assert (name, lines[0], lines[-1]) == ("联动设备", "12-01 12:00 警笛", "……另有 40 条，见报警历史")
    assert len(lines) == 61


def test_another_month_has_none_of_it_and_the_year_has_all(tmp_path: Path) -> None:
    gateway = a_month(tmp_path)
    empty = gateway.log("2026-11")
    assert not any(empty.events.values())
    assert [row[2] for row in log_tables(empty, gateway.names, "en")[0].rows] == [
        "Not tested this month"
    ] * 2
    assert len(gateway.log("2026").events["drill-report"]) == 1


def test_a_hazard_is_in_the_log_of_each_month_in_which_it_was_open(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.do(-13 * HOUR, "hazard-found", where="后门", what="门坏")
    assert log_tables(gateway.log(), gateway.names, "en")[3].rows[0][5] == "Open"
    gateway.do(60, "hazard-closed", id=next(iter(gateway.rows["hazards"])), what="修好")
    (row,) = log_tables(gateway.log(), gateway.names, "en")[3].rows
    assert (row[0], row[5], row[-1]) == ("2026-11-30 23:00", "修好", "13.0 h")
    (row,) = log_tables(gateway.log("2026-11"), gateway.names, "en")[3].rows
    assert row[5] == "Open"
    assert log_tables(gateway.log("2027-01"), gateway.names, "en")[3].rows == []


def test_what_nobody_can_date_is_counted(tmp_path: Path) -> None:
    gateway = a_month(tmp_path)
    unset = Stamp(0, 1, "lost", ClockQuality.UNSET)
    records = gateway.records
    gateway.records = [*records, Record(Lane.EVENT, "gateway", 1, "patrol-done", unset, {})]
    log = gateway.log()
    assert log.undated == 1
    assert "另有 1 条记录" in printed_log(log, gateway.site, "zh")


class Text(HTMLParser):
    """The texts of each kind of element, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_for_the_printer_and_takes_no_orders_from_what_people_wrote(tmp_path: Path) -> None:
    gateway = a_month(tmp_path)
    for language, said in (("zh", "未经消防认证"), ("en", "not a certified fire protection product")):
        html = printed_log(gateway.log(), gateway.site, language)
        reading = Text()
        reading.feed(html)
        assert {"script", "b", "link", "img"}.isdisjoint(reading.tags)
        assert "<script>alert(1)</script>" in reading.texts
        assert "size: A4" in html
        assert "http" not in html
        assert any(said in text for text in reading.texts)
    assert "测试人：" in printed_log(gateway.log(), gateway.site, "zh")


PATROL = """
[patrol.day]
title = { zh = "日巡查", en = "Day patrol" }
checkpoints = { exit = "Exit" }
every = "daily"
"""


class Console:
    """Commands over the control socket, as a person at the machine gives them."""

    def __init__(self, centre: Centre) -> None:
        self._socket = centre.daemon.socket
        self._count = 0

    def ask(self, action: str, device: str = "gateway", name: str = "", **args: object) -> str:
        """How it ended."""
        self._count += 1
        request = {
            "id": name or f"{action}-{self._count}", "device": device, "action": action, "args": args,
            "expires": round((time.time() + 60) * 1000), "origin": "console", "by": "王",
        }  # fmt: skip
        answer = asyncio.run(control.call_daemon(self._socket, "command", **request))
        return str(answer["status"])


def test_the_whole_way_from_smoke_to_the_signed_page(centre: Centre, tmp_path: Path) -> None:
    """A fire whose steps outlive a crash, a drill, a walk-test, a patrol and a hazard, on real wires."""
    with centre.daemon.site.open("a", encoding="utf-8") as site:
        site.write(PATROL)
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    find = centre.witness.find
    console = Console(centre)
    eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
    eventually(lambda: "inside" in centre.witness.latest("visitors").get("values", {}))

    centre.do("smoke", unit=1, on=True)
    (opened,) = eventually(lambda: find("smoke-hall", "event", hazard="fire", drill=False))
    alarm = opened["data"]["alarm"]
    assert opened["kind"] == "plan-opened"
    assert opened["data"]["inside"] >= 0
    assert console.ask("step", name="once", alarm=alarm, step="confirm") == "done"
    assert console.ask("step", name="once", alarm=alarm, step="confirm") == "done", "the same click again"
    assert console.ask("step", alarm=alarm, step="confirm") == "failed"
    assert console.ask("muster", alarm=alarm, found=3) == "done"
    centre.daemon.end(signal.SIGKILL)
    centre.daemon.start()
    eventually(centre.daemon.up)
    assert console.ask("step", alarm=alarm, step="call-119") == "done"
    centre.do("smoke", unit=1, on=False)
    eventually(lambda: find("smoke-hall", "alarm", id=alarm, change="cleared"))
    assert console.ask("acknowledge", alarm=alarm) == "done"
    assert console.ask("reset", alarm=alarm) == "done"
    (report,) = eventually(lambda: [e for e in find("smoke-hall", "event") if e["kind"] == "alarm-report"])
    data = report["data"]
    assert list(data["steps"]) == ["confirm", "call-119"]
    assert (data["found"], data["ended_by"], data["alarm"]) == (3, "王", alarm)
    # What was sent just before the kill may be sent again.
    assert len({e["seq"] for e in find("smoke-hall", "event", step="confirm")}) == 1

    assert console.ask("drill", hazard="gas") == "done"
    (begun,) = eventually(lambda: find("gateway", "event", hazard="gas", drill=True))
    drill = begun["data"]["alarm"]
    assert console.ask("step", alarm=drill, step="no-spark") == "done"
    assert console.ask("reset", alarm=drill) == "done"

    assert console.ask("test", "smoke-kitchen", point="smoke") == "done"
    centre.do("smoke", unit=2, on=True)
    eventually(lambda: find("smoke-kitchen", "alarm", change="tested", by="王"))
    centre.do("smoke", unit=2, on=False)
    assert console.ask("check-in", patrol="day", checkpoint="exit", note="ok") == "done"
    assert console.ask("hazard-found", where="后门", what="<b>灭火器</b>", severity="major") == "done"
    assert console.ask("hazard-closed", id="hazard/none", what="?") == "failed"
    eventually(lambda: centre.witness.latest("hazards").get("values") == {"open": 1, "overdue": 0})

    assert console.ask("shift-begin") == "done"
    assert console.ask("shift-remark", text="巡查正常") == "done"
    assert console.ask("shift-end", alarms=1, standing=0) == "done"
    assert console.ask("shift-remark", text="交班以后") == "failed"
    (ended,) = eventually(lambda: [e for e in find("gateway", "event") if e["kind"] == "shift-ended"])
    assert (ended["data"]["by"], ended["data"]["signed"], ended["data"]["alarms"]) == ("王", True, 1)

    drills = linli("drills", "--config", centre.daemon.site, "--json")
    (held,) = json.loads(drills.stdout)
    assert (held["hazard"], held["by"], list(held["steps"])) == ("gas", "王", ["no-spark"])
    now = local_time("Asia/Shanghai")(opened_at(opened))
    assert now
    file = tmp_path / "log.html"
    done = linli("testlog", "--config", centre.daemon.site, "--month", f"{now:%Y-%m}", "--html", file)
    assert (done.returncode, done.stderr) == (0, "")
    reading = Text()
    reading.feed(file.read_text("utf-8"))
    texts = "\n".join(reading.texts)
    for said in ("Kitchen smoke", "Hall smoke", "Gas leak", "Day patrol", "<b>灭火器</b>", "Open"):
        assert said in texts
    assert re.search(r"\d\d-\d\d \d\d:\d\d Smoke 王", texts)
    table = linli("testlog", "--config", centre.daemon.site, "--month", f"{now:%Y-%m}")
    assert "1/10" in table.stdout
    assert linli("testlog", "--config", centre.daemon.site, "--month", "2026-13").returncode == 2


def opened_at(entry: dict[str, Any]) -> Stamp:
    return Stamp(entry["at"], entry["mono"], entry["boot"], ClockQuality(entry["clock"]))
