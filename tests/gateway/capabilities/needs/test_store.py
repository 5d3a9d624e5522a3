"""The sealed particulars on a real disk: what is in the bytes, and what is not."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from gateway.capabilities.needs.particulars import (
    MAX_LINES,
    Note,
    Particulars,
    field_errors,
    normalize_text,
    normalized_fields,
)
from gateway.capabilities.needs.store import ParticularsStore
from gateway.model import GatewayError

ZHANG = Particulars(
    "楼道灯坏了，请来修 " + "灯" * 400, "张小凡", "13800138000", "3 幢 2 单元 501",
    (Note(1, "王芳", "refer", "已电话联系电工老李"),),
)  # fmt: skip
TYPED = ("楼道灯坏了", "灯灯灯灯", "张小凡", "13800138000", "单元 501", "电工老李")
ONE, TWO = "48273915", "48273916"


def store(folder: Path) -> ParticularsStore:
    return ParticularsStore(folder / "needs.db", folder / "needs.key")


def disk(folder: Path) -> bytes:
    """Every byte of every file but the key."""
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix != ".key")


def sealed(folder: Path) -> dict[str, tuple[bytes, bytes]]:
    """Wrapped key and sealed text of each need, as they lie in the file."""
    with closing(sqlite3.connect(folder / "needs.db")) as database:
        rows = database.execute("SELECT id, key, body FROM need").fetchall()
    return {number: (key, body) for number, key, body in rows}


def remains(of: bytes, folder: Path) -> int:
    """How many runs of eight of these bytes are on the disk, anywhere."""
    data = disk(folder)
    return sum(of[i : i + 8] in data for i in range(len(of) - 7))


def test_what_was_sealed_is_read_back_and_nothing_of_it_is_legible_on_the_disk(tmp_path: Path) -> None:
    store(tmp_path).insert(ONE, ZHANG, 5)
    assert store(tmp_path).get(ONE) == ZHANG
    assert store(tmp_path).get(TWO) is None
    for text in TYPED:
        for encoding in ("utf-8", "utf-16-le", "gb18030"):
            assert text.encode(encoding) not in disk(tmp_path)
    assert ONE.encode() in disk(tmp_path), "the number is no secret"


def test_the_file_and_the_key_are_the_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "needs.db").touch(0o644)
    store(tmp_path).insert(ONE, ZHANG, 5)
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {
        "needs.db": 0o600, "needs.key": 0o600,
    }  # fmt: skip


def test_what_was_destroyed_has_left_the_disk_with_its_key_and_its_sealed_text(tmp_path: Path) -> None:
    ours = store(tmp_path)
    ours.insert(TWO, Particulars("留下的"), 5)
    for n in range(9):
        ours.insert(str(20_000_000 + n), ZHANG, 5)
    ours.replace("20000003", Particulars("改过的 " + "长" * 500, "张小凡"))
    gone = {number: blobs for number, blobs in sealed(tmp_path).items() if number != TWO}
    assert all(remains(blob, tmp_path) == len(blob) - 7 for blobs in gone.values() for blob in blobs)
    ours.destroy(gone)
    assert [remains(blob, tmp_path) for blobs in gone.values() for blob in blobs] == [0] * 18
    assert not any(number.encode() in disk(tmp_path) for number in gone)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["needs.db", "needs.key"]
    assert ours.get(TWO) == Particulars("留下的")


def test_a_step_seals_anew_and_leaves_nothing_of_the_former_text(tmp_path: Path) -> None:
    ours = store(tmp_path)
    ours.insert(ONE, ZHANG, 5)
    _, former = sealed(tmp_path)[ONE]
    ours.replace(ONE, Particulars("灯已修好"))
    assert ours.get(ONE) == Particulars("灯已修好")
    assert remains(former, tmp_path) == 0


def test_the_blocks_that_are_given_back_to_the_disk_hold_nothing(tmp_path: Path) -> None:
    ours = store(tmp_path)
    ours.insert(ONE, ZHANG, 5)
    # A second name keeps the blocks of SQLite's rollback journal after it is deleted.
    journal, blocks = tmp_path / "needs.db-journal", tmp_path / "blocks"
    journal.touch()
    blocks.hardlink_to(journal)
    (gone,) = sealed(tmp_path).values()
    ours.destroy([ONE])
    assert blocks.stat().st_size, "it was written to"
    assert [remains(blob, tmp_path) for blob in gone] == [0, 0]


def test_texts_cannot_change_places(tmp_path: Path) -> None:
    ours = store(tmp_path)
    ours.insert(ONE, ZHANG, 5)
    ours.insert(TWO, Particulars("另一条"), 5)
    with closing(sqlite3.connect(tmp_path / "needs.db")) as database, database:
        database.execute(
            "UPDATE need SET (key, body) = (SELECT key, body FROM need WHERE id = ?) WHERE id = ?",
            (ONE, TWO),
        )
    with pytest.raises(GatewayError, match="needs-unseal"):
        ours.get(TWO)
    assert ours.get(ONE) == ZHANG


def test_a_lost_or_wrong_key_is_told_and_none_is_made_in_its_place(tmp_path: Path) -> None:
    ours, key = store(tmp_path), tmp_path / "needs.key"
    ours.insert(ONE, ZHANG, 5)
    right = key.read_text()

    def refused() -> str:
        errors = set()
        for work in (
            lambda: ours.get(ONE),
            lambda: ours.insert(TWO, ZHANG, 5),
            lambda: ours.replace(ONE, ZHANG),
            ours.check_key,
        ):
            with pytest.raises(GatewayError) as failed:
                work()
            errors.add(failed.value.key)
        (error,) = errors
        return error

    key.unlink()
    assert refused() == "needs-key-missing"
    assert not key.exists()
    key.write_text("00" * 32)
    key.chmod(0o600)
    assert refused() == "needs-key-wrong"
    key.write_text("not a key")
    assert refused() == "needs-key-form"
    key.write_text("00")
    assert refused() == "needs-key-form"
    key.write_text(right)
    key.chmod(0o640)
    assert refused() == "secret-open"
    key.chmod(0o600)
    assert ours.get(ONE) == ZHANG
    key.unlink()
    assert set(ours.stored()) == {ONE}
    ours.destroy([ONE])
    assert ours.stored() == {}


def test_a_key_may_come_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "credentials"
    given.mkdir()
    key = given / "needs.key"
    key.write_text("ab" * 32)
    key.chmod(0o440)  # as an ACL's mask shows
    ours = ParticularsStore(tmp_path / "needs.db", key)
    with pytest.raises(GatewayError, match="secret-open"):
        ours.insert(ONE, ZHANG, 5)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    ours.insert(ONE, ZHANG, 5)
    assert ours.get(ONE) == ZHANG
    key.chmod(0o444)
    with pytest.raises(GatewayError, match="secret-open"):
        ours.get(ONE)


@pytest.mark.parametrize("content", [b"not a database at all" * 99, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_told_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "needs.db").write_bytes(content)
    with pytest.raises(GatewayError, match="needs-store"):
        store(tmp_path).insert(ONE, ZHANG, 5)
    assert (tmp_path / "needs.db").read_bytes() == content


def test_a_folder_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GatewayError, match="needs-store"):
        ParticularsStore(tmp_path / "file" / "needs.db", tmp_path / "needs.key").insert(ONE, ZHANG, 5)


def test_nothing_is_kept_where_nothing_was_ever_registered(tmp_path: Path) -> None:
    assert store(tmp_path).stored() == {}
    store(tmp_path).check_key()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  灯\t坏了 \r\n 请修\x00\x1b[31m ", "灯 坏了\n请修[31m"),
        ("\u202e反\u2066过\u200f来\ufeff", "反过来"),
        ("👨\u200d👩\u200d👧 𠮷野家 é", "👨\u200d👩\u200d👧 𠮷野家 é"),
        ("<b>粗</b> & \"'", "<b>粗</b> & \"'"),
        ("half \ud83d", "half"),
        ("\n" * 50, ""),
        ("\n".join("x" * MAX_LINES), "\n".join("x" * MAX_LINES)),
        ("\n".join("x" * 22), "\n".join("x" * MAX_LINES) + " x x"),
    ],
)
def test_what_cannot_be_seen_is_left_out_and_all_else_is_kept(typed: str, kept: str) -> None:
    assert normalize_text(typed) == kept
    assert normalize_text(kept) == kept


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"text": "灯坏了"}, {}),
        ({}, {"text": "need-text"}),
        ({"text": "\u200b \n"}, {"text": "need-text"}),
        ({"text": "字" * 500, "phone": "０５７１－８８８８８８８８"}, {}),
        ({"text": "字" * 501, "name": "名" * 41}, {"text": "need-long", "name": "need-long"}),
        ({"text": "灯", "phone": "call me"}, {"phone": "need-phone"}),
        ({"text": "灯", "phone": "1" * 21}, {"phone": "need-long"}),
    ],
)
def test_a_form_says_what_is_wrong_with_which_field(given: dict[str, str], wrong: dict[str, str]) -> None:
    assert field_errors(normalized_fields(given)) == wrong
