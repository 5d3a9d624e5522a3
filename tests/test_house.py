"""The rules of the house, read from the source: who may import whom, and what may be in a file."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Formatter

import pytest

import gateway.words
from gateway.cli import commands

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "drivers").rglob("*.py")])
# Importing any of these costs more than the whole of `linli --help`.
HEAVY = {"aiosmtplib", "aiosqlite", "bleak", "chinese_calendar", "cryptography", "cv2", "fido2",
         "gpiod", "heroicons", "httpx2", "jinja2", "paho", "prometheus_client", "psycopg", "py_vapid",
         "pymodbus", "segno", "serial", "starlette", "tomlkit", "uvicorn", "xlsxwriter"}  # fmt: skip


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module a file names in an import, wherever it stands, in full.

    `from a import b` gives `a.b` if that is a module of ours, else `a`.
    """
    package = module(path) if path.name == "__init__.py" else module(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parts if node.level else []), *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in OURS else base


OURS = {module(path) for path in SOURCES}
IMPORTS = {module(path): set(imports(path)) for path in SOURCES}


def within(name: str, roots: Iterable[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def ours(name: str) -> set[str]:
    return {other for other in IMPORTS[name] if within(other, ("gateway", "drivers"))}


FLOORS = (
    "model", "scheduling", "words", "base", "services", "wire", "receiver", "config", "journal", "trends",
    "field", "uplink", "web", "terminal", "jobs", "capabilities", "daemon", "dashboard", "simulate", "cli",
)  # fmt: skip
"""The folders (and the one module) of `gateway/`, each of which may import those before it."""
BELOW_CAPABILITIES = tuple(f"gateway.{floor}" for floor in FLOORS[: FLOORS.index("capabilities")])
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Every module belongs to the first row that matches it. It may import what stands in its row, and its
    # own row's folder.
    (r"gateway", ()),
    (r"gateway\.capabilities\.(\w+)\.services(\..+)?", ("gateway.model", "gateway.scheduling")),
    (r"gateway\.capabilities", ()),
    (r"gateway\.capabilities\.(\w+)(\..+)?", BELOW_CAPABILITIES),
    (r"gateway\.services(\..+)?", ("gateway.model",)),
    (r"gateway\.dashboard(\..+)?", BELOW_CAPABILITIES),
    *(
        (rf"gateway\.{floor}(\..+)?", tuple(f"gateway.{above}" for above in FLOORS[:number]))
        for number, floor in enumerate(FLOORS)
    ),
    (r"drivers(\.\w+)?(\..+)?", ("gateway.model", "gateway.wire")),
)
ENTRIES = {
    # The registry of the drivers, and the commands that offer them.
    "gateway.config.reading": {"drivers"},
    "gateway.cli.scan": {"drivers"},
    "gateway.capabilities.visitors.commands.count_visitors": {"drivers"},
    # All need the version of the product alone.
    "gateway.cli": {"gateway"},
    "gateway.daemon.gateway": {"gateway"},
    "gateway.daemon.main": {"gateway"},
    "gateway.uplink.native": {"gateway"},
}
"""What single modules may import besides: each with its reason."""


def layer(name: str) -> tuple[str, tuple[str, ...]]:
    """What a module belongs to (a folder whose modules may import one another), and what it may import."""
    for pattern, may in LAYERS:
        if re.fullmatch(pattern, name):
            parts = name.split(".")
            depth = {"gateway.capabilities": 3, "drivers": 2}.get(".".join(parts[:2]), 2)
            return ".".join(parts[: 4 if ".services" in pattern and len(parts) > 3 else depth]), may
    raise AssertionError(f"{name}: no row of LAYERS names it")


@pytest.mark.parametrize("name", sorted(IMPORTS))
def test_a_module_imports_what_its_layer_may(name: str) -> None:
    own, may = layer(name)
    allowed = {*may, own, *ENTRIES.get(name, ())}
    assert {other for other in ours(name) if not within(other, allowed) and other != "gateway"} == set()


def test_capabilities_do_not_know_one_another() -> None:
    folders = {path.name for path in (ROOT / "gateway/capabilities").iterdir() if path.is_dir()}
    strays = {
        f"{name} -> {other}"
        for name in IMPORTS
        for other in ours(name)
        if within(other, ["gateway.capabilities"]) and other.split(".")[2:3] != name.split(".")[2:3]
    }
    assert folders
    assert strays == set()


def test_reading_a_configuration_loads_no_wrapper_of_a_library() -> None:
    code = "import sys, gateway.config; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "gateway" in loaded
    assert HEAVY.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("library", "wrapper"),
    [
        ("aiosmtplib", r"gateway/capabilities/safety/channels/smtp\.py"),
        ("aiosqlite", r"gateway/journal/\w+\.py"),
        ("bleak", r"drivers/ble/radio\.py"),
        # For what devices say, for what residents say, for phones, for TLS, and for passwords.
        (
            "cryptography",
            r"drivers/ble/formats\.py gateway/capabilities/needs/seal\.py"
            r" gateway/capabilities/safety/web_push\.py gateway/uplink/signature\.py"
            r" gateway/web/certificates\.py gateway/web/passwords\.py gateway/wire/trust\.py",
        ),
        # What streams are, and what pictures are.
        ("chinese_calendar", r"gateway/base/public_holidays\.py"),
        ("cv2", r"drivers/camera/capture\.py drivers/camera/vision\.py"),
        ("fido2", r"gateway/web/passkeys\.py"),
        ("gpiod", r"drivers/gpio\.py"),
        # For devices, for people and for platforms.
        (
            "httpx2",
            r"drivers/http_pull\.py gateway/capabilities/safety/https_post\.py gateway/uplink/http\.py",
        ),
        ("paho", r"gateway/wire/mqtt\.py"),
        ("prometheus_client", r"gateway/daemon/metrics\.py"),
        ("psycopg", r"gateway/receiver/database\.py"),
        ("py_vapid", r"gateway/capabilities/safety/web_push\.py"),
        # What asks, and what hears.
        ("pymodbus", r"drivers/modbus/bus\.py drivers/modbus/framer\.py"),
        ("heroicons", r"gateway/web/icons\.py"),
        ("rfc8785", r"gateway/uplink/signature\.py"),
        ("segno", r"gateway/web/qr\.py"),
        ("serial", r"gateway/wire/serialport\.py"),
        ("tomlkit", r"gateway/config/editing\.py"),
        ("xlsxwriter", r"gateway/web/workbook\.py"),
    ],
)
def test_one_file_wraps_a_library(library: str, wrapper: str | None) -> None:
    # The simulated centre is the other end of the wire, and speaks with libraries of its own.
    users = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if any(within(name, [library]) for name in IMPORTS[module(path)])
        and not within(module(path), ["gateway.simulate"])
    ]
    assert re.fullmatch(wrapper or "", " ".join(sorted(users)))


SLEEPERS = {
    "gateway.base.clock": "the clock that is injected everywhere else",
    "gateway.wire.mqtt": "a keepalive each second, for as long as the connection lasts",
    "gateway.terminal.order": "a person at a terminal waits for the outcome of a command",
    "drivers.modbus.bus": "the silence that separates RTU frames on the line",
    "drivers.camera.capture": "frames at their own pace, in a process that does nothing else",
}
"""Modules that may sleep without an injected clock, and for what."""
WAITERS = {
    # By an injected clock, to schedule, retry, back off and commit.
    "clock": ("gateway.receiver", "gateway.journal", "gateway.trends", "gateway.field", "gateway.uplink",
              "gateway.capabilities", "gateway.daemon", "gateway.dashboard"),
    # To limit an I/O operation.
    "timeout": ("gateway.base", "gateway.wire", "gateway.receiver", "gateway.field", "gateway.uplink",
                "gateway.capabilities", "gateway.daemon", "gateway.dashboard", "drivers"),
}  # fmt: skip
"""Packages that may wait, by the kind of waiting; their `services` and `site` modules may not."""


def waits(path: Path) -> Iterator[str]:
    """How a file waits: `sleep`, `clock` or `timeout`. `sleep(0)` only yields to the loop."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in {"asyncio", "time"}:
            names = {alias.name for alias in node.names}
            assert names.isdisjoint({"sleep", "timeout", "wait_for"}), "call them by their module's name"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in {"asyncio.sleep", "time.sleep"} and ast.unparse(node.args[0]) != "0":
            yield "sleep"
        elif name.endswith(("clock.sleep", "clock.wait")):
            yield "clock"
        elif name in {"asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for"} or (
            name == "asyncio.wait" and any(keyword.arg == "timeout" for keyword in node.keywords)
        ):
            yield "timeout"


def test_only_these_wait() -> None:
    """Services and configuration never wait; drivers limit their I/O and leave all else to the core."""
    # The simulated centre is the other end of the wire, and runs in real time.
    sources = [path for path in SOURCES if not within(module(path), ["gateway.simulate"])]
    found = {(module(path), kind) for path in sources for kind in waits(path)}
    assert {name for name, kind in found if kind == "sleep"} == SLEEPERS.keys()
    others = {(name, kind) for name, kind in found if kind != "sleep"}
    assert {(name, kind) for name, kind in others if not within(name, WAITERS[kind])} == set()
    assert [name for name, _ in found if {"services", "site"} & set(name.split("."))] == []


def test_one_place_catches_everything() -> None:
    broad = re.compile(r"^\s*except( Exception| BaseException)?( as \w+)?:", re.MULTILINE)
    found = [module(path) for path in SOURCES for _ in broad.findall(path.read_text(encoding="utf-8"))]
    assert found == ["gateway.base.tasks"]


def test_every_test_runs_and_none_gets_a_second_try() -> None:
    excuses = {"skip", "skipif", "skipTest", "xfail", "importorskip", "flaky", "rerun"}
    excused = [
        (path, node.lineno)
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in excuses)
        or (isinstance(node, ast.alias) and node.name in excuses)
    ]
    assert excused == []
    settings = (ROOT / "pyproject.toml").read_text("utf-8") + (ROOT / "scripts" / "test").read_text("utf-8")
    assert "rerun" not in settings


def test_the_command_line_is_light() -> None:
    code = "import sys, gateway.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "gateway" in loaded
    assert HEAVY.isdisjoint(loaded)


def words(language: str) -> dict[str, set[str]]:
    """Key to placeholders, of the core and of every capability."""

    def walk(table: dict[str, object], prefix: str = "") -> Iterator[tuple[str, set[str]]]:
        for key, text in table.items():
            if isinstance(text, dict):
                yield from walk(text, f"{prefix}{key}.")
            else:
                assert isinstance(text, str)
                assert text.strip()
                yield f"{prefix}{key}", {name for _, name, _, _ in Formatter().parse(text) if name}

    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "gateway").rglob(f"words/{language}.toml")):
        for key, facts in walk(tomllib.loads(path.read_text(encoding="utf-8"))):
            assert key not in found, f"{path}: {key} is given twice"
            found[key] = facts
    return found


def test_both_languages_say_the_same_things() -> None:
    chinese = words("zh")
    assert chinese
    assert chinese == words("en")
    assert chinese.keys() == gateway.words.words("zh").keys()


def test_each_file_of_words_has_its_twin() -> None:
    files = list((ROOT / "gateway").rglob("words/*.toml"))
    assert {path.stem for path in files} == {"zh", "en"}
    for path in files:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        twin = tomllib.loads(
            path.with_stem({"zh": "en", "en": "zh"}[path.stem]).read_text(encoding="utf-8")
        )
        assert [(table, list(texts)) for table, texts in tables.items()] == [
            (table, list(texts)) for table, texts in twin.items()
        ], path


def test_the_command_line_says_nothing_that_has_no_sentence() -> None:
    patterns = ("cli/*.py", "terminal/*.py", "capabilities/*/commands/*.py")
    files = [path for pattern in patterns for path in (ROOT / "gateway").glob(pattern)]
    sources = (path.read_text(encoding="utf-8") for path in files)
    said = {key for source in sources for key in re.findall(r"\bcli_text\(\s*\"([\w-]+)\"", source)}
    said |= set(commands())
    assert len(said) > 30
    assert {f"cli.{key}" for key in said} <= words("zh").keys()


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


# Split, so that this file does not contain what it forbids.
FORBIDDEN = re.compile(
    "|".join(("/ro" "ot/", "/home/[a-z]", "/wo" "rk/", "files.python" "hosted", "py" r"pi\.org",
              "registry.npm" "js", "npm" "mirror", "py" r"pi\.tuna", "mirrors\\.(?:aliyun|ustc)"))
)  # fmt: skip


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {hit.group()}"
        for path in tracked()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "ignore").splitlines(), 1)
        if (hit := FORBIDDEN.search(line))
    ]
    assert found == []
