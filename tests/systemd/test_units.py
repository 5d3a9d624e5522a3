"""The units, as systemd itself reads them. Nothing is installed or started."""

import re
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with the accounts that a Debian system has from the start."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\ndialout:x:20:\nvideo:x:44:\n")
    return tmp_path


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    # Copies, because verify asks for executables that only an installed gateway has.
    for other in UNITS:
        text = re.sub(r"^(Exec(?:Start|Reload)=)\S+", r"\1/bin/true", other.read_text(), flags=re.M)
        (tmp_path / other.name).write_text(text)
    verdict = run("systemd-analyze", "verify", "--man=no", tmp_path / unit.name)
    ours = [line for line in verdict.stderr.splitlines() if "linli" in line]
    assert not ours
    assert verdict.returncode == 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_exposure_is_at_most_2(unit: Path) -> None:
    verdict = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)
    assert verdict.returncode == 0, verdict.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("unit", "line"),
    [
        ("linli", "Type=notify"),
        ("linli", "NotifyAccess=main"),
        ("linli", "WatchdogSec=30"),
        ("linli", "ExecReload=/opt/linli/current/bin/linli reload --config /etc/linli/site.toml"),
        ("linli", "TimeoutStartSec=180"),
        ("linli", "Restart=always"),
        ("linli", "RestartPreventExitStatus=78"),
        ("linli", "StartLimitIntervalSec=0"),
        ("linli", "User=linli"),
        ("linli-dashboard", "User=linli"),
        ("linli-dashboard", "StateDirectory=linli"),
    ],
)
def test_what_the_program_relies_on(unit: str, line: str) -> None:
    assert line in (SYSTEMD / f"{unit}.service").read_text().splitlines()


def test_a_device_class_is_allowed_only_with_its_driver_loaded_first() -> None:
    """systemd looks the class up when the service starts; see systemd.resource-control(5)."""
    unit = (SYSTEMD / "linli.service").read_text()
    for module in ("usbserial", "cdc_acm", "videodev"):
        assert len(re.findall(rf"^(?:Wants|After)=.*modprobe@{module}\.service", unit, re.M)) == 2


def test_the_account_and_the_directories(root: Path) -> None:
    accounts = run("systemd-sysusers", f"--root={root}", SYSTEMD / "linli.sysusers")
    assert accounts.returncode == 0, accounts.stderr
    groups = (root / "etc/group").read_text().splitlines()
    assert {"dialout:x:20:linli", "video:x:44:linli"} <= set(groups)
    assert any(re.fullmatch(r"gpio:x:\d+:linli", group) for group in groups)

    # --clean reads every line and resolves every owner, and has nothing to clean.
    directories = run("systemd-tmpfiles", f"--root={root}", "--clean", SYSTEMD / "linli.tmpfiles")
    assert (directories.returncode, directories.stderr) == (0, "")
