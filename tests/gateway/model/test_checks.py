from __future__ import annotations

import pytest

from gateway.model import is_host


@pytest.mark.parametrize(
    "text",
    [
        "192.168.1.20",
        "::1",
        "fe80::1%eth0",
        "localhost",
        "broker.example.cn",
        "chirpstack_1",
        "3m.cn",
        "网关.cn",
    ],
)
def test_a_host(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "192.168.1.300",
        "192.168.1",
        "10.0.0.1.5",
        "my host",
        "http://a",
        "a:1",
        "a..b",
        "192．168．1．2",
    ],
)
def test_no_host(text: str | None) -> None:
    assert not is_host(text)
