"""A capability that is declared wrongly: `linli check` names it, and says what to correct."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway.capabilities
from gateway import cli
from gateway.config.capability import capabilities
from gateway.dashboard.parts import page_parts

SITE_FILE = """\
schema = "linli/site/1"
[site]
id = "centre"
title = "Centre"
[bus.meters]
driver = "modbus"
url = "tcp://192.0.2.1"
"""
RIGHT = {
    "__init__.py": """
from gateway.config.capability import Capability
CAPABILITY = Capability(
    name="loans",
    site="gateway.capabilities.loans.site",
    jobs="gateway.capabilities.loans.jobs",
    pages="gateway.capabilities.loans.pages",
    commands={"loans": "gateway.capabilities.loans.command"},
)
""",
    "site.py": """
import msgspec
from gateway.config.capability import SiteSection
from gateway.model import Service
class Loan(msgspec.Struct, frozen=True):
    item: str
class Loans(Service):
    name = "loans"
    row = Loan
    actions = frozenset({"loan-returned"})
    def apply(self, rows, message):
        return {}, []
SITE = SiteSection(tables=("loan_item",), service_types=(Loans,))
""",
    "jobs.py": """
from gateway.jobs import Job
class LoansJob(Job):
    name = "loans"
    calls = ("loans",)
    @staticmethod
    def built_from(site):
        return None
    async def run(self):
        return None
JOBS = (LoansJob,)
""",
    "pages.py": """
from gateway.web.part import Page, PagePart, Tile
PAGES = PagePart(
    name="loans",
    pages=(Page(name="loans", title="loans.page", regions=("loan-items",)),),
    tiles=(Tile("loans-tile"),),
)
""",
    "command.py": """
def add_arguments(parser):
    pass
def run(options):
    pass
""",
    "templates/loan-items.html": "",
    "templates/loans-tile.html": "",
}


class CapabilityFolder:
    """The folder of one more capability, and a site file to check with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "loans"
        self._site = folder / "site.toml"
        self._site.write_text(SITE_FILE, "utf-8")
        for name, text in RIGHT.items():
            self.add(name, text)

    def add(self, name: str, text: str = "") -> None:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        file = self._folder / name
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")

    def remove(self, name: str) -> None:
        (self._folder / name).unlink()

    def check(self) -> int:
        return cli.main(["check", str(self._site)])


def _clear_caches() -> None:
    for cached in (capabilities, page_parts):
        cached.cache_clear()
    for name in [name for name in sys.modules if name.startswith("gateway.capabilities.loans")]:
        del sys.modules[name]


@pytest.fixture
def loans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CapabilityFolder]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(gateway.capabilities, "__path__", [*gateway.capabilities.__path__, str(tmp_path)])
    monkeypatch.setenv("LINLI_LANG", "en")
    _clear_caches()
    yield CapabilityFolder(tmp_path)
    monkeypatch.undo()
    _clear_caches()


def test_a_right_declaration_passes(loans: CapabilityFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert loans.check() == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "old", "new", "wanted"),
    [
        (
            "__init__.py",
            "CAPABILITY =",
            "CAPABILTY =",
            "capabilities.loans must declare CAPABILITY",
        ),
        ("__init__.py", 'name="loans"', 'name="loan"', "CAPABILITY has the name 'loan'"),
        ("__init__.py", "loans.site", "loans.sites", "gateway.capabilities.loans.sites cannot be imported"),
        ("__init__.py", "loans.jobs", "loans.job", "gateway.capabilities.loans.job cannot be imported"),
        ("__init__.py", "loans.pages", "loans.page", "gateway.capabilities.loans.page cannot be imported"),
        ("__init__.py", "loans.command", "loans.commands", "loans.commands cannot be imported"),
        (
            "site.py",
            "SITE =",
            "SITES =",
            "loans.site must declare SITE, a SiteSection",
        ),
        ("site.py", "import msgspec", "import msgpsec", "the package msgpsec is missing"),
        ("jobs.py", "JOBS =", "JOB =", "gateway.capabilities.loans.jobs must declare JOBS"),
        ("jobs.py", "(LoansJob,)", "LoansJob", "gateway.capabilities.loans.jobs must declare JOBS"),
        (
            "pages.py",
            "PAGES =",
            "PAGE =",
            "loans.pages must declare PAGES, a PagePart",
        ),
        ("pages.py", '    name="loans",', '    name="loan",', "PAGES has the name 'loan'"),
        ("pages.py", '"loans-tile"', '"loans-tile.html"', "there is no template loans-tile.html.html"),
        ("command.py", "def run", "def runs", "gateway.capabilities.loans.command must declare run"),
    ],
)
def test_what_is_missing_is_named(
    loans: CapabilityFolder, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, wanted: str
) -> None:
    loans.replace(name, old, new)
    assert loans.check() == cli.EX_CONFIG
    complaint = capsys.readouterr().err
    assert complaint.startswith("capability 'loans': ")
    assert wanted in complaint


@pytest.mark.parametrize(
    ("name", "old", "new", "declaration", "other"),
    [
        ("__init__.py", '{"loans":', '{"check":', "Capability.commands", "core"),
        ("__init__.py", '{"loans":', '{"visitors":', "Capability.commands", "visitors"),
        ("site.py", '"loan_item"', '"device"', "SiteSection.tables", "core"),
        ("site.py", '"loan_item"', '"room"', "SiteSection.tables", "visitors"),
        ("site.py", 'name = "loans"', 'name = "presence"', "Service.name", "core"),
        ("site.py", 'name = "loans"', 'name = "gateway"', "Service.name", "core"),
        ("site.py", 'name = "loans"', 'name = "parking"', "Service.name", "parking"),
        ("site.py", '"loan-returned"', '"mute"', "Service.actions", "safety"),
        ("jobs.py", 'name = "loans"', 'name = "uplink"', "Job.name", "core"),
        ("jobs.py", 'name = "loans"', 'name = "outputs"', "Job.name", "safety"),
        ("jobs.py", '("loans",)', '("health",)', "Job.calls", "core"),
        ("jobs.py", '("loans",)', '("notify-test",)', "Job.calls", "safety"),
        ("pages.py", 'Page(name="loans"', 'Page(name="overview"', "Page.name", "core"),
        ("pages.py", 'Page(name="loans"', 'Page(name="visits"', "Page.name", "visitors"),
    ],
)
def test_what_is_declared_twice_is_named_with_both_owners(
    loans: CapabilityFolder,
    capsys: pytest.CaptureFixture[str],
    name: str,
    old: str,
    new: str,
    declaration: str,
    other: str,
) -> None:
    loans.replace(name, old, new)
    assert loans.check() == cli.EX_CONFIG
    complaint = capsys.readouterr().err
    assert f" in {declaration} is already used by " in complaint
    assert {"'loans'", f"'{other}'"} <= set(complaint.replace(":", " ").split())


def test_a_template_that_is_missing_is_named(
    loans: CapabilityFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    loans.remove("templates/loan-items.html")
    assert loans.check() == cli.EX_CONFIG
    assert "capability 'loans': there is no template loan-items.html" in capsys.readouterr().err


def test_two_capabilities_cannot_have_a_static_file_of_one_name(
    loans: CapabilityFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    loans.add("static/app.js")
    assert loans.check() == cli.EX_CONFIG
    assert "'app.js' in static/ is already used by 'core'" in capsys.readouterr().err


def test_every_command_says_so_in_one_sentence(
    loans: CapabilityFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    loans.replace("__init__.py", "CAPABILITY =", "CAPABILTY =")
    assert cli.main(["--help"]) == cli.EX_CONFIG
    assert capsys.readouterr().err.count("\n") == 1
