"""The monthly log, from the facts that the services themselves conclude."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from gateway.clock import local_time
from gateway.config import Site, load_site
from gateway.model import ClockQuality, Command, Lane, Message, Record, Sample, Stamp, Tick
from gateway.services import services
from gateway.testlog import PeriodLog, page, tables

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
        allowed = {"console": [action for each in services({}, {}) for action in each.actions]}
        self.services = services(self.site.devices, allowed, (), self.local, self.site.duties)
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
                expires=at.wall + 1, origin="console", by=by,
            )
        )  # fmt: skip

    def alarm(self, key: str) -> str:
        return str(self.rows["safety"][key].id)

    def log(self, period: str = "2026-12") -> PeriodLog:
        log = PeriodLog(period, self.site.devices, self.local)
        for record in self.records:
            log.take(record)
        return log


def a_month(folder: Path) -> Gateway:
    """A test, a fire, a drill, a disablement, a missed patrol and a hazard."""
    gateway = Gateway(folder)
    gateway.do(60, "test", "smoke-hall", by="李", point="smoke")
    gateway.read(70, smoke=True)
    gateway.read(80, smoke=False)
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
        {row[0]: row[1:] for row in table.rows} for table in tables(gateway.log(), gateway.site, "zh")
    )
    assert sensors["大厅烟感"] == ["感烟探测器", "12-01 12:01 烟雾 李", "12-01 13:00 烟雾 王", "", ""]
    assert sensors["smoke-attic"] == ["感烟探测器", "本月未测试", "", "", "12-01 15:00 烟雾 王 装修<b>"]
    (drill,) = drills.values()
    assert drill[:4] == ["火灾", "赵", "10.0 分钟", "1/11"]
    assert "119" in drill[4]
    assert drill[5] == "12/?"
    (patrol,) = patrols.values()
    assert patrol == ["日巡查", "2026-12-02/01", "漏查：厨房", ""]
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


def test_another_month_has_none_of_it_and_the_year_has_all(tmp_path: Path) -> None:
    gateway = a_month(tmp_path)
    empty = gateway.log("2026-11")
    assert not any(empty.events.values())
    assert [row[2] for row in tables(empty, gateway.site, "en")[0].rows] == ["not tested this month"] * 2
    assert len(gateway.log("2026").events["drill-report"]) == 1


def test_a_hazard_that_was_found_before_says_so(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.do(-13 * HOUR, "hazard-found", where="后门", what="门坏")
    gateway.do(60, "hazard-closed", id=next(iter(gateway.rows["hazards"])), what="修好")
    (row,) = tables(gateway.log(), gateway.site, "en")[3].rows
    assert (row[0], row[-1]) == ("before this month", "13.0 h")
    (row,) = tables(gateway.log("2026-11"), gateway.site, "en")[3].rows
    assert row[5] == "still open"


def test_what_nobody_can_date_is_counted(tmp_path: Path) -> None:
    gateway = a_month(tmp_path)
    unset = Stamp(0, 1, "lost", ClockQuality.UNSET)
    records = gateway.records
    gateway.records = [*records, Record(Lane.EVENT, "gateway", 1, "patrol-done", unset, {})]
    log = gateway.log()
    assert log.undated == 1
    assert "另有 1 条记录" in page(log, gateway.site, "zh")


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
    for language, said in (("zh", "未经消防认证"), ("en", "no certified fire device")):
        html = page(gateway.log(), gateway.site, language)
        reading = Text()
        reading.feed(html)
        assert {"script", "b", "link", "img"}.isdisjoint(reading.tags)
        assert "<script>alert(1)</script>" in reading.texts
        assert "size: A4" in html
        assert "http" not in html
        assert any(said in text for text in reading.texts)
    assert "测试人：" in page(gateway.log(), gateway.site, "zh")
