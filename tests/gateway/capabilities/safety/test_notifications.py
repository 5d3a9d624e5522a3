"""Delivery: channels side by side, storms, texts; and a running gateway that is killed in the middle."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.capabilities.safety.channels import AlarmMessage, Channel, Contact, DeliveryFailed
from gateway.capabilities.safety.message_texts import MessageContext, MessageTexts
from gateway.capabilities.safety.notifications import ConfiguredChannel, Notifier
from gateway.capabilities.safety.phones import Phone, Phones
from gateway.capabilities.safety.services.escalation import (
    FAILURES_UNTIL_FAULT,
    Escalation,
    EscalationPlan,
    EscalationStep,
    Notice,
)
from gateway.capabilities.safety.web_push import PushKey
from gateway.model import GatewayError, Hazard, Outcome, Point, Role, Rows, Stamp
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.clock import FakeClock
from tests.gateway.capabilities.safety.services.test_escalation import alarm
from tests.gateway.conftest import Centre, linli
from tests.gateway.push_service import PushService
from tests.gateway.services.kit import Fold, device, tick
from tests.gateway.simulate.conftest import eventually

PEOPLE = {
    "wang": Contact(name="wang", title={}, phone="1", email="w@example.cn"),
    "li": Contact(name="li", title={}, phone="2"),
}
FREEZER = msgspec.structs.replace(
    device("fridge", "fridge", temperature=Point(unit="°C")), title={"zh": "冷柜", "en": "Freezer"}
)


def spoken(language: str) -> MessageContext:
    rules = {"warm": {"zh": "太热", "en": "Too warm"}}
    return MessageContext(
        language,
        {"zh": "邻里中心", "en": "Centre"},
        {"fridge": FREEZER},
        rules,
        lambda at: datetime.fromtimestamp(at.wall_ms / 1000, UTC),
    )


class Rig:
    """Channels `a` to people by phone and `b` to a group, which note what they are told, or refuse."""

    def __init__(
        self,
        every: float = 3.0,
        language: str = "zh",
        most: int = 10_000,
        *,
        is_parallel: bool = False,
    ) -> None:
        self.context = spoken(language)
        self.clock = FakeClock()
        self.said: dict[str, list[tuple[float, AlarmMessage, list[str]]]] = {"a": [], "b": []}
        self.refuse: dict[str, Exception] = {}
        self.hang: set[str] = set()
        plan = EscalationPlan(
            steps=(EscalationStep(tell=("wang", "li"), by=("a", "b")),),
            include_drills=True,
            flap_window_s=0,
        )
        reach = {"a": frozenset({"wang", "li"}), "b": None}
        self.fold = Fold(Escalation(dict.fromkeys(Hazard, plan), reach, lambda _: ()))
        ways = {
            "a": ConfiguredChannel(
                Channel(
                    options=msgspec.Struct,
                    send=self._sender("a"),
                    address_field="phone",
                    is_parallel=is_parallel,
                ),
                None,
            ),
            "b": ConfiguredChannel(
                Channel(
                    options=msgspec.Struct, send=self._sender("b"), min_interval_s=every, max_alarms=most
                ),
                None,
            ),
        }
        self.notifier = Notifier(ways, PEOPLE, self.context, self.rows, self._conclude, self.clock)

    def rows(self) -> Rows:
        return self.fold.rows

    def message(self, key: str, notice: Notice) -> AlarmMessage:
        texts = MessageTexts(self.context, self.context.language)
        return texts.alarm_message([(key, notice)], self.clock.now())

    def _sender(self, name: str) -> Callable[..., Any]:
        async def send(options: Any, text: AlarmMessage, people: Sequence[Contact], at: Stamp) -> None:
            if {name, *(person.name for person in people)} & self.hang:
                await self.clock.sleep(1e6)
            if name in self.refuse:
                raise self.refuse[name]
            self.said[name].append((self.clock.mono(), text, [person.name for person in people]))

        return send

    async def _conclude(self, outcomes: Sequence[Outcome]) -> None:
        self.fold.step(*outcomes)

    def raise_alarm(self, key: str = "smoke/smoke/1", hazard: Hazard = Hazard.FIRE, **more: Any) -> None:
        fact = msgspec.structs.replace(
            alarm("raised", 0, "active", hazard, key=key, **more), at=self.clock.now()
        )
        self.fold.step(fact)
        self.notifier.check_now()

    async def advance(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.fold.step(msgspec.structs.replace(tick(0), at=self.clock.now()))
            await self.clock.advance(1)

    def failed(self, channel: str) -> bool:
        return bool(self.fold.service.summary(self.fold.rows)[f"{channel}.failed"])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        job = asyncio.create_task(self.notifier.run())
        await self.clock.advance(0)
        try:
            yield
            assert not job.done()
        finally:
            job.cancel()
            await asyncio.wait([job])


async def test_each_person_is_told_and_the_group_once_with_their_names() -> None:
    rig = Rig()
    async with rig.running():
        rig.raise_alarm()
        await rig.clock.advance(0.1)
        assert [people for _, _, people in rig.said["a"]] == [["wang"], ["li"]]
        assert [people for _, _, people in rig.said["b"]] == [["wang", "li"]]
        assert not [row for row in rig.fold.rows.values() if isinstance(row, Notice)]


async def test_where_several_are_sent_to_at_once_one_that_hangs_delays_no_other() -> None:
    rig = Rig(is_parallel=True)
    rig.hang.add("wang")
    async with rig.running():
        rig.raise_alarm()
        await rig.clock.advance(0.1)
        rig.raise_alarm("gas/lel/1", Hazard.GAS)
        await rig.clock.advance(0.1)
        assert [(at, people) for at, _, people in rig.said["a"]] == [(0.0, ["li"]), (0.1, ["li"])]


async def test_a_channel_that_hangs_delays_no_other() -> None:
    rig = Rig()
    rig.hang.add("b")
    async with rig.running():
        rig.raise_alarm()
        await rig.clock.advance(0.1)
        assert len(rig.said["a"]) == 2


async def test_a_channel_that_fails_is_a_fault_after_three_tries_and_no_longer_once_it_works() -> None:
    rig = Rig()
    rig.refuse["b"] = DeliveryFailed("channel-status", host="x", status=500)
    async with rig.running():
        rig.raise_alarm()
        for n, wait in enumerate((5, 10), 1):
            await rig.advance(wait - 1 if n == 1 else wait)
            assert not rig.failed("b")
        await rig.advance(15)
        assert rig.failed("b")
        assert not rig.failed("a")
        del rig.refuse["b"]
        await rig.advance(60)
        assert not rig.failed("b")
        assert len(rig.said["b"]) == 1
    assert FAILURES_UNTIL_FAULT == 3


async def test_a_storm_is_told_within_the_rate_and_nothing_is_lost() -> None:
    rig = Rig()
    async with rig.running():
        for n in range(300):
            rig.raise_alarm(f"smoke/{n}/1")
            await rig.clock.advance(0.1)
        await rig.advance(10)
        times = [when for when, _, _ in rig.said["b"]]
        assert len(times) <= 20 * 40 / 60 + 1
        assert all(later - earlier >= 3 for earlier, later in itertools.pairwise(times))
        told = [each["alarm"] for _, text, _ in rig.said["b"] for each in text.alarms]
        assert sorted(told) == sorted(f"smoke/{n}/1" for n in range(300))


async def test_many_alarms_of_one_moment_are_one_message() -> None:
    rig = Rig()
    for n in range(1000):
        rig.raise_alarm(f"smoke/{n}/1")
    async with rig.running():
        await rig.clock.advance(0.1)
        [(_, text, _)] = rig.said["b"]
        assert text.headline == "邻里中心：1000 条报警消息"
        assert len(text.paragraphs) == 1000
        assert text.render(2048).endswith("条，请看管理页面。")


async def test_what_a_channel_cannot_say_at_once_it_says_in_turn() -> None:
    rig = Rig(most=400)
    for n in range(1000):
        rig.raise_alarm(f"smoke/{n}/1")
    async with rig.running():
        await rig.advance(7)
        assert [len(text.alarms) for _, text, _ in rig.said["b"]] == [400, 400, 200]
        assert len({each["alarm"] for _, text, _ in rig.said["b"] for each in text.alarms}) == 1000


async def test_the_words_in_both_languages() -> None:
    for language, wanted in (
        ("zh", ["【火警】smoke 烟雾", "报警，尚无人确认。", "119", "邻里中心"]),
        ("en", ["[Fire] smoke Smoke", "Not acknowledged yet.", "(119)", "Centre"]),
    ):
        rig = Rig(language=language)
        async with rig.running():
            rig.raise_alarm()
            await rig.clock.advance(0.1)
        said = rig.said["b"][0][1].render(9999)
        for part in wanted:
            assert part in said
        assert "{" not in said


async def test_a_drill_is_marked_and_says_so() -> None:
    for language, mark in (("zh", "【演练】"), ("en", "[DRILL] ")):
        rig = Rig(language=language)
        async with rig.running():
            rig.raise_alarm("drill/fire/1", mode="drill")
            await rig.clock.advance(0.1)
        text = rig.said["b"][0][1]
        assert text.headline.startswith(mark)
        assert "119" not in text.render(9999)
        assert text.alarms[0]["drill"] is True


async def test_what_a_rule_is_called_and_what_was_measured() -> None:
    rig = Rig(language="en")
    fact = alarm("raised", 0, "active", Hazard.FOOD, key="rule/warm/1")
    body = {**fact.body, "point": "warm", "value": 12.5}
    rig.fold.step(msgspec.structs.replace(fact, device="fridge", body=body, at=rig.clock.now()))
    body = {**fact.body, "id": "fridge/temperature/1", "point": "temperature", "value": 12.5}
    rig.fold.step(msgspec.structs.replace(fact, device="fridge", body=body, at=rig.clock.now()))
    texts = [
        rig.message(key, row).render(9999)
        for key, row in rig.fold.rows.items()
        if isinstance(row, Notice) and row.channel == "b"
    ]
    assert texts[0].startswith("[Food temperature] Freezer Too warm\n")
    assert texts[1].startswith("[Food temperature] Freezer Temperature\n")
    assert "Value: 12.5 °C" in texts[1]


async def test_which_of_several_points_it_is_is_said() -> None:
    rig = Rig(language="en")
    fact = alarm("raised", 0, "active", key="smoke/smoke.3/1")
    body = {**fact.body, "point": "smoke.3"}
    rig.fold.step(msgspec.structs.replace(fact, body=body, at=rig.clock.now()))
    (text,) = (
        rig.message(key, row).headline
        for key, row in rig.fold.rows.items()
        if isinstance(row, Notice) and row.channel == "b"
    )
    assert text == "[Fire] smoke Smoke 3"


async def test_a_place_behind_a_device_is_named() -> None:
    for language, more in (("zh", "及其他部位"), ("en", "and further places")):
        rig = Rig(language=language)
        fact = alarm("raised", 0, "active", key="smoke/smoke/1/3/40/7/1")
        for place, where in (("1/3/40/7", "三楼走廊"), ("*", "")):
            body = {**fact.body, "id": f"smoke/smoke/{place}/1", "place": place, "where": where}
            rig.fold.step(msgspec.structs.replace(fact, body=body, at=rig.clock.now()))
        texts = [
            rig.message(key, row)
            for key, row in rig.fold.rows.items()
            if isinstance(row, Notice) and row.channel == "b"
        ]
        assert texts[0].headline.endswith(" 三楼走廊 1/3/40/7")
        assert texts[1].headline.endswith(f" {more}")
        assert texts[0].alarms[0]["where"] == "三楼走廊"


async def test_what_a_library_chokes_on_is_a_failure_like_any_other() -> None:
    rig = Rig()
    rig.refuse["b"] = ZeroDivisionError("the secret")
    async with rig.running():
        rig.raise_alarm()
        await rig.advance(20)
        assert rig.failed("b")
        assert len(rig.said["a"]) == 2


async def test_a_fault_of_a_channel_is_told_by_the_others() -> None:
    rig = Rig(language="en")
    fact = alarm("raised", 0, "active", Hazard.FAULT, key="escalation/b.failed/1")
    fact = msgspec.structs.replace(fact, device="escalation", body={**fact.body, "point": "b.failed"})
    rig.fold.step(msgspec.structs.replace(fact, at=rig.clock.now()))
    async with rig.running():
        await rig.clock.advance(0.1)
    assert rig.said["a"][0][1].headline == "[Device fault] Notification channel b"


async def test_a_trial_tells_what_each_channel_said() -> None:
    rig = Rig(language="en")
    rig.refuse["b"] = DeliveryFailed("channel-robot", host="x", code=93000)
    found = await rig.notifier.send_test("li")
    assert found["a"] == ""
    assert "93000" in found["b"] or "93000" in str(found["b"])
    assert rig.said["a"][0][2] == ["li"]
    with pytest.raises(GatewayError, match="contact-unknown"):
        await rig.notifier.send_test("nobody")


SECRET = "5ecretOfTheWebhook"


class Hook:
    """A webhook's far end: notes what comes, and answers when it is let."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.let = threading.Event()
        self.let.set()
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(json.loads(body))
                outer.let.wait(30)
                try:
                    self.send_response(outer.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except ConnectionError:
                    return

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/alarms"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def alarms(self, device: str) -> list[dict[str, Any]]:
        return [each for body in self.bodies for each in body["alarms"] if each["device"] == device]

    def close(self) -> None:
        self.let.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    it = Hook()
    yield it
    it.close()


def configure(centre: Centre, hook: Hook) -> None:
    secret = centre.daemon.folder / "hook.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    text = centre.daemon.site.read_text("utf-8")
    text += f"""
[contact.wang]
title = "王"
[channel.hook]
type = "webhook"
url = "{hook.url}"
secret_file = "{secret}"
[escalation.default]
steps = [{{ tell = ["wang"], by = ["hook"] }}]
"""
    centre.daemon.site.write_text(text, "utf-8")


def test_killed_between_sending_and_noting_it_tells_twice_at_most_and_never_loses(
    centre: Centre, hook: Hook
) -> None:
    configure(centre, hook)
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
    hook.let.clear()
    centre.do("smoke", unit=1, on=True)
    eventually(lambda: hook.alarms("smoke-hall"))
    eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"))
    assert centre.daemon.end(signal.SIGKILL) == -signal.SIGKILL
    hook.let.set()
    centre.daemon.start()
    eventually(lambda: centre.witness.find("smoke-hall", "event", status="delivered"))
    assert [each["news"] for each in hook.alarms("smoke-hall")] == ["raised", "raised"]
    assert len({each["notice"] for each in hook.alarms("smoke-hall")}) == 1, "the far end can tell"
    centre.daemon.end(signal.SIGKILL)
    centre.daemon.start()
    raised = centre.witness.find("smoke-hall", "alarm", change="raised")[0]["data"]
    eventually(lambda: (centre.daemon.health() or {}).get("uplinks", {}).get("uplink"))
    centre.command("ack-notice", "smoke-hall", "acknowledge", alarm=raised["id"])
    eventually(lambda: len(hook.alarms("smoke-hall")) == 3)
    assert hook.alarms("smoke-hall")[2]["news"] == "acknowledged"
    assert hook.alarms("smoke-hall")[2]["by"] == "platform"
    assert hook.alarms("smoke-hall")[2]["notice"] != hook.alarms("smoke-hall")[0]["notice"]


def test_a_channel_that_fails_is_an_alarm_and_its_secret_is_nowhere(centre: Centre, hook: Hook) -> None:
    configure(centre, hook)
    centre.broker.start()
    centre.witness.start()
    hook.status = 500
    centre.daemon.start()
    eventually(centre.daemon.up)
    for _ in range(3):
        done = linli("notify-test", "wang", "--config", centre.daemon.site)
        assert done.returncode == 1
        assert "HTTP 500" in done.stdout
    fault = {"point": "hook.failed", "hazard": "fault", "change": "raised"}
    eventually(lambda: centre.witness.find("escalation", "alarm", **fault))
    hook.status = 200
    done = linli("notify-test", "wang", "--config", centre.daemon.site, lang="zh")
    assert (done.returncode, done.stdout) == (0, "hook: 已送达\n")
    eventually(
        lambda: centre.witness.find("escalation", "alarm", point="hook.failed", change="cleared"), 20
    )
    metrics = centre.daemon.get("metrics")[1].decode()
    assert centre.daemon.end() == 0
    assert SECRET not in metrics
    assert "channel-down" in centre.daemon.log.read_text("utf-8")
    for file in centre.daemon.folder.iterdir():
        if file.is_file() and file.name != "hook.secret":
            assert SECRET.encode() not in file.read_bytes(), file
    with closing(sqlite3.connect(centre.daemon.journal)) as db:
        assert SECRET not in "\n".join(map(str, db.iterdump()))


def test_nobody_by_that_name_and_no_gateway(centre: Centre, hook: Hook, tmp_path: Path) -> None:
    configure(centre, hook)
    done = linli("notify-test", "wang", "--config", centre.daemon.site)
    assert done.returncode == 1
    assert "is not running" in done.stderr


def test_a_phone_rings_and_hears_who_has_it_while_a_channel_hangs(
    centre: Centre, hook: Hook, certificate: Path
) -> None:
    configure(centre, hook)
    push = PushService(certificate, certificate.with_name("key.pem"))
    try:
        text = centre.daemon.site.read_text("utf-8")
        text = text.replace("[contact.wang]\n", '[contact.wang]\naccount = "王芳"\n')
        text = text.replace('by = ["hook"]', 'by = ["hook", "phones"]')
        text += f"""
[channel.phones]
type = "push"
email = "it@example.cn"
own_service = "{push.origin}"
ca_file = "{certificate}"
"""
        centre.daemon.site.write_text(text, "utf-8")
        access = centre.daemon.folder / "access.key"
        write_people(people_file(access), {"王芳": Person(Role.DUTY, hash_password("long enough"))})
        phone = Phone(
            endpoint=f"{push.origin}/201/x", public_key=push.keys["p256dh"],
            auth_secret=push.keys["auth"], server_key=PushKey(access).public, person="王芳", lang="en",
            agent="", added_ms=0,
        )  # fmt: skip
        Phones(access).add(phone)
        centre.broker.start()
        centre.witness.start()
        centre.daemon.start()
        eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
        hook.let.clear()
        centre.do("smoke", unit=1, on=True)
        raised = eventually(lambda: centre.witness.find("smoke-hall", "alarm", change="raised"))[0]["data"]
        push.wait(lambda: push.heard)
        assert push.texts()[0]["title"] == "[Fire] Hall smoke Smoke"
        assert push.texts()[0]["tag"] == raised["id"]
        centre.command("ack-phone", "smoke-hall", "acknowledge", alarm=raised["id"])
        push.wait(lambda: len(push.heard) > 1)
        assert push.texts()[1]["body"].startswith("Acknowledged by platform")
        assert [each["claims"]["signed"] for each in push.heard] == [True, True]
        eventually(lambda: centre.witness.find("smoke-hall", "event", channel="phones", status="delivered"))
    finally:
        push.close()
