"""The secret addresses of the bookings."""

from __future__ import annotations

from pathlib import Path

from gateway.capabilities.visitors.feeds import FeedKind, Feeds


def test_an_address_is_renewed_and_turned_off(tmp_path: Path) -> None:
    feeds = Feeds(tmp_path / "access.key")
    assert feeds.all() == []
    feeds.renew("hall", FeedKind.PUBLIC)
    feeds.renew("hall", FeedKind.STAFF)
    first, other = feeds.all()
    assert feeds.find(first.token) == first
    assert len({first.token, other.token}) == 2
    assert all(len(each.token) >= 32 for each in (first, other))
    feeds.renew("hall", FeedKind.PUBLIC)
    assert feeds.find(first.token) is None
    assert feeds.find(other.token) == other
    feeds.remove("hall", FeedKind.STAFF)
    assert [each.kind for each in feeds.all()] == [FeedKind.PUBLIC]
    for wrong in ("", "x", "\u00e9", other.token):
        assert feeds.find(wrong) is None
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_a_damaged_file_is_no_address(tmp_path: Path) -> None:
    (tmp_path / "calendar-feeds.json").write_text("{")
    assert Feeds(tmp_path / "access.key").all() == []
