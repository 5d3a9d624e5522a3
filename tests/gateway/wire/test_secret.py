from __future__ import annotations

from pathlib import Path

import pytest

from gateway.model import LinkDown
from gateway.wire.secret import read_secret


def test_a_secret_is_one_line_of_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("密钥 with spaces\n", "utf-8")
    file.chmod(0o600)
    assert read_secret(file) == "密钥 with spaces"
    file.write_bytes(b"\xef\xbb\xbfby a Windows editor\r\n")
    assert read_secret(file) == "by a Windows editor"
    file.write_text("s" * 3000)
    assert read_secret(file) == "s" * 3000


@pytest.mark.parametrize(
    ("content", "mode", "key"),
    [
        (b"secret", 0o640, "secret-open"),
        (b"secret", 0o604, "secret-open"),
        (b" \n", 0o600, "secret-empty"),
        (b"\xff\xfes\0", 0o600, "secret-not-text"),
        (b"s\0e\0c\0", 0o600, "secret-not-text"),
        (b"secret\nanother", 0o600, "secret-lines"),
        (b"secret\r# a remark", 0o600, "secret-lines"),
        (b"s" * 5000, 0o600, "secret-lines"),
        (None, 0, "secret-missing"),
    ],
)
def test_what_is_no_secret_is_refused(tmp_path: Path, content: bytes | None, mode: int, key: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(LinkDown) as refused:
        read_secret(file)
    assert refused.value.key == key
