"""Durable files: all of the new content or none of it, readable by the owner alone."""

from pathlib import Path

import pytest

from gateway.base import files


def test_content_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.json"
    files.write_durably(path, b"old")
    files.write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600

    def interrupt(_: str) -> None:
        raise OSError("no power")

    monkeypatch.setattr(files, "failpoint", interrupt)
    with pytest.raises(OSError, match="no power"):
        files.write_durably(path, b"newer")
    assert path.read_bytes() == b"new"
    monkeypatch.undo()
    files.write_durably(path, b"newest")
    assert [file.name for file in tmp_path.iterdir()] == ["site.json"]


def test_the_first_to_create_a_file_wins(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "token"
    files.create_durably(path, b"first")
    files.create_durably(path, b"second")
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["token"]


def test_a_rewritten_file_stays_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text("old")
    file.chmod(0o640)
    files.rewrite(file, "新")
    assert (file.read_text("utf-8"), file.stat().st_mode & 0o777) == ("新", 0o640)
    files.rewrite(tmp_path / "plans" / "fire.toml", "x")
    assert (tmp_path / "plans" / "fire.toml").read_text() == "x"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["plans", "site.toml"]
    with pytest.raises(FileExistsError):
        files.rewrite(tmp_path / "site.toml" / "fire.toml", "x")
