"""A house to look at: a real journal, a real control socket, the real dashboard in its own process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import io
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec
import pytest
from selenium import webdriver

from gateway.base import control
from gateway.base.clock import SystemClock
from gateway.capabilities.needs.pages import NeedsSettings
from gateway.capabilities.parcels.pages import ParcelsSettings
from gateway.capabilities.parcels.services import Compartment
from gateway.capabilities.parking.pages import ParkingSettings
from gateway.capabilities.parking.services import PARKING_BAY_KIND, Bay, Parking
from gateway.capabilities.safety.pages import SafetySettings
from gateway.capabilities.safety.services.alarms import Alarm, AlarmMode, AlarmState, Output
from gateway.capabilities.safety.services.emergency_plans import EmergencyCase, EmergencyPlan, PlanStep
from gateway.capabilities.safety.services.patrols import Patrol
from gateway.capabilities.safety.services.supervision import Sensor, SensorTest
from gateway.capabilities.safety.testlog import LogNames
from gateway.capabilities.visitors.pages import VisitorsSettings
from gateway.capabilities.visitors.services import (
    BOOKING_PREFIX,
    CENTRE,
    Counter,
    Day,
    Door,
    DoorTally,
    Drift,
    Flow,
    Layout,
    Place,
    Room,
    VisitBooking,
)
from gateway.capabilities.visitors.statistics.aggregation import AggregationBatch, Bin
from gateway.capabilities.visitors.statistics.database import connect
from gateway.capabilities.visitors.statistics.intervals import QUARTER_S
from gateway.capabilities.visitors.statistics.results import CentreLayout
from gateway.journal import Journal
from gateway.model import Fact, Hazard, ReadFailed, Role, Sample, Stamp, Value
from gateway.services.commands import CommandRow, CommandStatus
from gateway.services.presence import PresenceRow
from gateway.web.access import SESSION_COOKIE, Access
from gateway.web.settings import DeviceInfo, Settings
from tests.gateway.browser import Page, browsing

KEY = "right-key-of-the-house"
NASTY = "<img src=x onerror=document.title='owned'>\"'"

DEVICES = (
    DeviceInfo("counter", {"zh": "南门客流", "en": "South door"}, "door-counter", 5),
    DeviceInfo("smoke", {"zh": "一层活动室烟感", "en": "Hall smoke"}, "smoke", 5, is_safety_device=True),
    DeviceInfo(
        "gas",
        {"zh": "厨房燃气", "en": "Kitchen gas"},
        "gas",
        5,
        {"lel": "%LEL", "valve": ""},
        is_safety_device=True,
        actions=("close-valve", "whistle"),
        action_roles={"close-valve": Role.DUTY},
    ),
    DeviceInfo(
        "locker",
        {"zh": "东侧快递柜", "en": "East lockers"},
        "parcel-locker",
        5,
        {f"door.{n}": "" for n in range(1, 5)},
        actions=("open",),
    ),
    DeviceInfo("nasty", {"zh": NASTY, "en": NASTY}, NASTY, 5, {"temperature": "℃"}),
)

PLAN = EmergencyPlan(
    hazard=Hazard.FIRE,
    title={"zh": "火灾应急预案", "en": "Fire"},
    source={"zh": "依据", "en": "Source"},
    steps={
        "look": PlanStep(
            who={"zh": "值班员", "en": "Duty officer"}, do={"zh": "到场查看", "en": "Go and look"}
        ),
        "call": PlanStep(who={"zh": "值班员"}, do={"zh": NASTY}, call="119"),
    },
)
SIREN = Output(
    device="gas", on="whistle", off="close-valve", hazards=(Hazard.FIRE,), sound=True, drill=True
)
ROUND = Patrol(
    title={"zh": "防火巡查", "en": "Fire patrol"},
    checkpoints={"kitchen": {"zh": "厨房", "en": "Kitchen"}, "stairs": {"zh": NASTY}},
    interval_minutes=120,
)

LAYOUT = Layout(
    rooms={
        "dance": Room(title={"zh": "舞蹈室", "en": "Dance room"}, limit=30),
        "nasty": Room(title={"zh": NASTY, "en": NASTY}),
    },
    doors={
        "south": Door(title={"zh": "南门", "en": "South door"}, counters=("counter", "nasty")),
        "dance": Door(title={"zh": NASTY}, counters=("gone",), inner="dance"),
    },
    limit=200,
)

SERVE = """
import asyncio, logging, pickle, sys
from gateway.dashboard import run
logging.basicConfig(level=logging.INFO)
asyncio.run(run(pickle.load(sys.stdin.buffer)))
"""


class House:
    """Stands for the daemon: writes the journal, answers on the socket."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.settings = Settings(
            journal=folder / "journal.db",
            control=folder / "control.sock",
            access=folder / "access.key",
            port=0,
            title={"zh": "滨江邻里中心", "en": "Binjiang Neighbourhood Centre"},
            timezone="Asia/Shanghai",
            devices=DEVICES,
            parts={
                "safety": SafetySettings(
                    outputs={"siren": SIREN},
                    plans={Hazard.FIRE: PLAN},
                    patrols={"fire": ROUND},
                    people_inside="visitors.inside",
                    log=LogNames(outputs={"siren": {"zh": "厨房警笛", "en": "Kitchen siren"}}),
                    tested_points={"smoke": ("smoke",), "gas": ("lel",)},
                ),
                "visitors": VisitorsSettings(
                    layout=LAYOUT,
                    statistics_file=folder / "statistics.db",
                    centre=CentreLayout("Asia/Shanghai"),
                ),
                "needs": NeedsSettings(),
                "parking": ParkingSettings(),
                "parcels": ParcelsSettings(),
            },
        )
        self.settings.access.write_text(KEY + "\n")
        self.settings.access.chmod(0o600)
        self.storage = "ok"
        self.report: dict[str, Any] = {}
        self.commands: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]] = lambda _: {
            "status": "done"
        }
        self.still = b""
        """What every camera sees, as JPEG."""
        self.looks: list[dict[str, Any]] = []
        self.phone_tests: list[dict[str, Any]] = []
        self.security_events: list[dict[str, Any]] = []
        self.alarms: dict[str, Alarm] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._journal: Journal | None = None
        self._leave = asyncio.Event()
        self._daemon: asyncio.Task[None] | None = None

    def configure(self, part: str, **changes: Any) -> None:
        """Change the settings of one part."""
        changed = msgspec.structs.replace(self.settings.parts[part], **changes)
        parts = {**self.settings.parts, part: changed}
        self.settings = msgspec.structs.replace(self.settings, parts=parts)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def start(self) -> None:
        """The daemon comes up."""

        async def start() -> None:
            up = asyncio.Event()
            self._leave.clear()
            self._daemon = asyncio.create_task(self._live(up))
            await up.wait()

        self.do(start())

    async def _live(self, up: asyncio.Event) -> None:
        async with (
            Journal.open(self.settings.journal, self.clock, 0.1) as self._journal,
            control.serve_control_socket(self.settings.control, await self._handlers(self._journal)),
        ):
            up.set()
            await self._leave.wait()

    async def _handlers(self, _journal: Journal) -> dict[str, control.Handler]:
        return {
            "health": self._health,
            "doctor": self._doctor,
            "command": self._command,
            "still": self._still,
            "phone-test": self._phone_test,
            "security": self._security,
        }

    async def _health(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "started": 0, "journal": self.storage}

    async def _doctor(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"buses": self.report}

    async def _command(self, request: dict[str, Any]) -> dict[str, Any]:
        self.commands.append(request)
        answer = self.answer(request)
        return await answer if isinstance(answer, Awaitable) else answer

    async def _still(self, request: dict[str, Any]) -> dict[str, Any]:
        self.looks.append(request)
        if not self.still:
            raise ReadFailed("stills-off")
        return {"jpeg": base64.b64encode(self.still).decode()}

    async def _phone_test(self, request: dict[str, Any]) -> dict[str, Any]:
        self.phone_tests.append(request)
        return {}

    async def _security(self, request: dict[str, Any]) -> dict[str, Any]:
        self.security_events += request["events"]
        return {}

    def stop(self) -> None:
        """The daemon goes away."""

        async def stop() -> None:
            self._leave.set()
            if self._daemon:
                await self._daemon

        self.do(stop())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def now(self, ago: float = 0.0) -> Stamp:
        now = self.clock.now()
        return msgspec.structs.replace(
            now, wall_ms=now.wall_ms - int(ago * 1000), mono_ns=now.mono_ns - int(ago * 1e9)
        )

    def says(self, device: str, ago: float = 0.0, error: str = "", **values: Value) -> None:
        """A sample of a device, or a service's summary."""

        async def say() -> None:
            assert self._journal
            self._journal.append_sample(Sample(device, self.now(ago), values, error=error))

        self.do(say())

    def rows(self, service: str, **rows: msgspec.Struct | None) -> None:
        """Change a service's rows; `__` in a key stands for `/`."""

        async def put() -> None:
            assert self._journal
            changes = {key.replace("__", "/"): row for key, row in rows.items()}
            self._journal.append(service, [], changes)
            await self._journal.commit()

        self.do(put())

    def happened(self, *facts: Fact) -> None:
        """Facts that become records."""

        async def put() -> None:
            assert self._journal
            self._journal.append("", facts, {})
            await self._journal.commit()

        self.do(put())

    def visitors(self, came: int, left: int) -> None:
        """The day's count."""
        drift = Drift(self.now(40_000), 4, Flow(210, 204, 2))
        self.rows(
            "visitors",
            day__=Day(day=self.local_day()),
            place__=Place(inside=came - left, today=Flow(came, left), tours=12, drift=drift),
            place__dance=Place(inside=28, near=True),
            door__south=DoorTally(came=came, left=left, active="counter"),
            counter__counter=Counter(at=self.now(5), why="", heard=True, came=came, left=left),
            counter__gone=Counter(at=self.now(40_000), why="offline", heard=True),
        )

    def bays(self, *occupied: bool | None) -> None:
        """The parking bays, one detector each; None: not known."""
        bays = tuple(
            DeviceInfo(
                f"bay-{n}",
                {"zh": f"{n} 号车位", "en": f"Bay {n}"},
                PARKING_BAY_KIND,
                3600,
                {"occupied": ""},
            )
            for n in range(1, len(occupied) + 1)
        )
        self.settings = msgspec.structs.replace(self.settings, devices=(*self.settings.devices, *bays))
        known = {bay.name: state for bay, state in zip(bays, occupied, strict=True) if state is not None}
        self.rows(
            Parking.name,
            **{f"{name}__occupied": Bay(state, self.now(600)) for name, state in known.items()},
        )
        counts = {"free": [*known.values()].count(False), "occupied": [*known.values()].count(True)}
        self.says(Parking.name, **counts, unknown=len(bays) - len(known), total=len(bays))

    def curve(self, *came: int) -> None:
        """How many more came than left in each quarter of an hour until now, in the statistics."""
        day = datetime.fromtimestamp(self.now().wall_ms / 1000, ZoneInfo(self.settings.timezone))
        midnight = day.replace(hour=0, minute=0, second=0, microsecond=0)
        batch = AggregationBatch()
        last = int(self.now().wall_ms / 1000) // QUARTER_S
        for number, count in enumerate(reversed(came)):
            batch.bins[last - number, CENTRE] = Bin(max(count, 0), max(-count, 0))
        batch.coverage_changes["counter", int(midnight.timestamp()) * 1000] = True
        with contextlib.closing(connect(self.settings.parts["visitors"].statistics_file)) as database:
            database.apply(batch)
        door = {"door.south": ("counter",)}
        self.configure(
            "visitors",
            centre=CentreLayout(self.settings.timezone, doors=door, places={CENTRE: tuple(door)}),
        )

    def booking(self, title: str, ago: float, **fields: Any) -> str:
        """Something is booked for an hour."""
        since = self.now(ago).wall_ms
        key = f"{BOOKING_PREFIX}{since:x}"
        row = VisitBooking(title=title, since=since, until=since + 3_600_000, by="王芳", **fields)
        self.rows("visitors", **{key.replace("/", "__"): row})
        return key

    def local_day(self) -> str:
        """The date at the site."""
        return (
            datetime.fromtimestamp(self.now().wall_ms / 1000, ZoneInfo("Asia/Shanghai")).date().isoformat()
        )

    def alarm(self, state: AlarmState | None, device: str = "smoke", value: Value = True) -> str:
        """Put the alarm of a device into a state; None closes it. Returns the alarm's id."""
        hazard, point = {"smoke": (Hazard.FIRE, "smoke"), "gas": (Hazard.GAS, "lel")}[device]
        name = f"{device}/{point}/1"
        row = (
            Alarm(
                id=name,
                device=device,
                point=point,
                hazard=hazard,
                state=state,
                raised=self.now(65),
                value=value,
            )
            if state
            else None
        )
        self.rows("safety", **{f"{device}__{point}": row})
        return name

    def out(
        self, device: str, mode: AlarmMode, why: str = "", seconds: float = 3600, *, tripping: bool = False
    ) -> None:
        """Take a device out of service, for a while."""
        hazard, point = {"smoke": (Hazard.FIRE, "smoke"), "gas": (Hazard.GAS, "lel")}[device]
        row = Alarm(
            id=f"{device}/{point}/1",
            device=device,
            point=point,
            hazard=hazard,
            raised=self.now(),
            mode=mode,
            until=self.now(-seconds),
            mode_by="王芳",
            why=why,
            state=AlarmState.ACKNOWLEDGED if mode is AlarmMode.SHELVED else AlarmState.NORMAL,
            tripping=tripping,
        )
        self.rows("safety", **{f"{device}__{point}": row})

    def case(self, alarm: str, **fields: Any) -> None:
        """What is being done about an alarm."""
        key = alarm.rpartition("/")[0].replace("/", "__")
        case = EmergencyCase(
            id=alarm, alarm=alarm, device="smoke", hazard=Hazard.FIRE, raised=self.now(60), inside=31,
            steps=tuple(PLAN.steps), **fields,
        )  # fmt: skip
        self.rows("response", **{key: case})

    def drill(self) -> str:
        """A drill has begun."""
        row = Alarm(
            id="drill/fire/1", device="gateway", point="drill", hazard=Hazard.FIRE, state=AlarmState.ACTIVE,
            raised=self.now(5), mode=AlarmMode.DRILL, mode_by="王芳",
        )  # fmt: skip
        self.rows("safety", drill__fire=row)
        return row.id

    def trial(self, device: str, point: str, ticked: bool) -> None:
        """A detector takes part in a walk-test."""
        at = self.now() if ticked else None
        trial = SensorTest("王芳", self.now(60), at)
        row = Sensor(since=self.now(9000), alive=True, tested=at, tested_by="王芳", trial=trial)
        self.rows("supervision", **{f"{device}__{point}": row})

    def ordered(self, device: str, action: str, status: CommandStatus, detail: str = "") -> None:
        """What became of a command."""
        at = self.now(65)
        order = CommandRow(device, action, "dashboard", "Wang", at, at.wall_ms + 15_000, status, detail)
        self.rows("commands", c1=order)

    def compartment(self, number: int, occupied: bool, door_open: bool = False, live: bool = True) -> None:
        row = Compartment(door_open, occupied, self.now(), live)
        self.rows("lockers", **{f"locker__{number}": row})

    def furnish(self) -> None:
        """An ordinary day."""
        self.visitors(128, 97)
        self.says("visitors", **{"inside": 31, "in": 128, "out": 97})
        self.says("parking", free=7, occupied=12, unknown=1, total=20)
        self.says("lockers", free=2, occupied=1, open=1, unknown=1, total=4)
        self.says("counter", **{"in": 5128, "out": 5097})
        self.says("smoke", smoke=False)
        self.says("gas", lel=2.5)
        self.says("nasty", temperature=21.5)
        self.rows(
            "presence", uplink=PresenceRow(True, self.now(3600)), smoke=PresenceRow(True, self.now(3600))
        )
        for number, (occupied, door) in enumerate([(False, False), (True, False), (False, True)], 1):
            self.compartment(number, occupied, door)


class Served:
    """The dashboard's process."""

    def __init__(self, settings: Settings) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SERVE],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin
        assert self.process.stderr
        pickle.dump(settings, self.process.stdin)
        self.process.stdin.close()
        self.said: list[str] = []
        self._stderr = io.TextIOWrapper(self.process.stderr)
        for line in self._stderr:
            self.said.append(line)
            if found := re.search(r"(https?://127.0.0.1:(\d+))", line):
                self.url, self.port = found[1], int(found[2])
                break
        else:
            raise AssertionError("".join(self.said))
        self._rest = threading.Thread(target=lambda: self.said.extend(self._stderr))
        self._rest.start()

    def ask(
        self, method: str, path: str, body: str = "", cookie: str = "", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """One request as a browser on the page would send it, unless headers say otherwise."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            sent = {"origin": self.url, "cookie": cookie, **headers}
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in sent.items() if v})
            answer = connection.getresponse()
            text = "" if path.startswith("/events") else answer.read().decode()
            return answer.status, answer.headers, text

    def cookie(self) -> str:
        """A session."""
        _, headers, _ = self.ask("GET", f"/?key={KEY}&name={quote('王芳')}")
        return headers["set-cookie"].partition(";")[0]

    def idle_cookie(self, access_key: Path) -> dict[str, Any]:
        """The session of somebody who came in by the key and has done nothing yet, for a browser."""
        value = Access(KEY, access_key).sign_owner_session("Wang")
        return {"name": SESSION_COOKIE, "value": value}

    def end(self) -> float | None:
        """SIGTERM; returns the exit code. Kills and fails after five seconds."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(5)
        finally:
            self.process.kill()
            self.process.wait()
            self._rest.join()
            self._stderr.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A daemon that has started, with nothing in its journal."""
    house = House(tmp_path)
    house.start()
    yield house
    house.close()


@pytest.fixture
def served(house: House) -> Iterator[Served]:
    """The dashboard of an ordinary day."""
    house.furnish()
    served = Served(house.settings)
    yield served
    served.end()


@pytest.fixture(scope="module")
def chromium(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[webdriver.Chrome]:
    """As large as the module's `WINDOW`, if it says one."""
    size = getattr(request.module, "WINDOW", (1440, 900))
    with browsing(tmp_path_factory.mktemp("chromium"), size) as driver:
        yield driver


@pytest.fixture
def page(chromium: webdriver.Chrome, served: Served) -> Iterator[Page]:
    """The page, entered with the key in the address; nothing may be wrong in its console after."""
    chromium.get(f"{served.url}/static/icon.svg")
    chromium.delete_all_cookies()
    chromium.get_log("browser")
    chromium.get(f"{served.url}/?key={KEY}&name=Wang")
    yield Page(chromium, served.url)
    told = chromium.get_log("browser")
    assert not [entry for entry in told if "Content Security Policy" in entry["message"]], told
    assert not [entry for entry in told if entry["source"] in {"javascript", "security"}], told
