"""Digest by the examples of its standards; how servers write their challenges."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.wire.http_auth import BasicLogin, Challenge, DigestLogin, parse_challenges

RFC_7616 = (
    'realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC_2617 = (
    'realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
RFC_2069 = (
    'realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)


def answer(challenge: str, password: str = "Circle of Life", cnonce: str = "c") -> dict[str, str]:
    """The fields of the answer to a challenge."""
    login = DigestLogin("Mufasa", password, lambda: cnonce)
    assert login.authorization("GET", b"/dir/index.html") is None
    assert login.accept(parse_challenges([challenge]))
    header = login.authorization("GET", b"/dir/index.html")
    assert header
    scheme, _, fields = header.decode("latin-1").partition(" ")
    assert scheme == "Digest"
    return dict(re.findall(r'(\w+)=((?:"[^"]*"|[^,]+))', fields))


@pytest.mark.parametrize(
    ("challenge", "password", "cnonce", "response"),
    [
        (
            RFC_7616.format("MD5"), "Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "8ca523f5e9506fed4657c9700eebdbec",
        ),
        (
            RFC_7616.format("SHA-256"), "Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        (RFC_2617, "Circle Of Life", "0a4f113b", "6629fae49393a05397450978507c4ef1"),
        (RFC_2069, "CircleOfLife", "", "1949323746fe6a43ef61f9606e7febea"),
    ],
    ids=["RFC 7616, 3.9.1: MD5", "RFC 7616, 3.9.1: SHA-256", "RFC 2617, 3.5", "RFC 2069, 2.4: erratum"],
)  # fmt: skip
def test_the_examples_of_the_standards(challenge: str, password: str, cnonce: str, response: str) -> None:
    assert answer(f"Digest {challenge}", password, cnonce)["response"] == f'"{response}"'


def test_what_the_server_sent_is_returned_as_it_was_and_nothing_else() -> None:
    fields = answer('Digest realm="a \\" b", nonce="=,=", opaque="", qop="auth", algorithm=SHA-256')
    assert (fields["opaque"], fields["algorithm"], fields["qop"], fields["nc"]) == (
        '""',
        "SHA-256",
        "auth",
        "00000001",
    )
    assert answer('Digest realm="", nonce=""').keys() == {"username", "realm", "nonce", "uri", "response"}
    assert answer('Digest realm="x", nonce="y", algorithm="md5-SESS"')["algorithm"] == "md5-SESS"


PLAIN = {"realm": "My Cam", "nonce": "abc==", "qop": "auth"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Digest realm="My Cam", nonce="abc==", qop="auth"'], [("digest", PLAIN)]),
        (['DIGEST Realm = "My Cam",NONCE="abc==",qop=auth'], [("digest", PLAIN)]),
        (['digest realm="My Cam" nonce="abc==" qop=auth'], [("digest", PLAIN)]),
        (['Digest ,realm="My Cam",, nonce=abc==\t, qop="auth",'], [("digest", PLAIN)]),
        (
            ['Basic realm="Login", Digest realm="My Cam", nonce="abc==", qop="auth"'],
            [("basic", {"realm": "Login"}), ("digest", PLAIN)],
        ),
        (
            ['Digest realm="My Cam", nonce="abc==", qop="auth"', "Negotiate", 'Basic realm="a, Digest b"'],
            [("digest", PLAIN), ("negotiate", {}), ("basic", {"realm": "a, Digest b"})],
        ),
        (
            ["Digest qop=auth,auth-int, nonce=abc==, realm=x"],
            [("digest", {"qop": "auth,auth-int", "nonce": "abc==", "realm": "x"})],
        ),
        (["", "  ", ",", "="], []),
    ],
)
def test_challenges_as_servers_write_them(
    headers: list[str], expected: list[tuple[str, dict[str, str]]]
) -> None:
    assert parse_challenges(headers) == [Challenge(*each) for each in expected]


def test_of_several_challenges_the_strongest_that_is_known_is_met() -> None:
    offered = [f'Digest realm="r", nonce="{n}", algorithm={n}' for n in ("MD5", "SHA-256", "MD6")]
    assert answer(", ".join(offered))["algorithm"] == "SHA-256"
    login = DigestLogin("a", "b")
    assert not login.accept(
        parse_challenges(['Digest realm="r", nonce="n", algorithm=MD6', 'Basic realm="r"'])
    )
    assert login.authorization("GET", b"/") is None


def test_a_nonce_is_counted_and_a_new_one_starts_again() -> None:
    login = DigestLogin("a", "b")
    for nonce in ("n1", "n2"):
        assert login.accept(parse_challenges([f'Digest realm="r", nonce="{nonce}", qop="auth"']))
        headers = [login.authorization("GET", b"/") or b"" for _ in range(2)]
        assert [f"nc=0000000{n}".encode() in header for n, header in enumerate(headers, 1)] == [True, True]
        cnonces = {re.findall(rb'cnonce="(\w+)"', header)[0] for header in headers}
        assert len(cnonces) == 1, "a session's key is made of the first"


def test_basic_needs_no_challenge() -> None:
    login = BasicLogin("Aladdin", "open sesame")
    assert login.authorization("GET", b"/") == b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617, 2
    assert login.accept(parse_challenges(['Digest realm="r", nonce="n", Basic realm="r"']))
    assert not login.accept(parse_challenges(['Digest realm="r", nonce="n"']))


written = st.text(alphabet='aB-=", \\\t1é', max_size=60)
digests = st.lists(
    st.tuples(st.sampled_from(["realm", "nonce", "opaque", "qop", "algorithm", "x"]), written).map("=".join)
).map(lambda parameters: f"Digest {', '.join(parameters)}")


@given(st.lists(written | digests, max_size=3))
@example(["Digest"])
@example(["Digest realm=a\\, nonce=b"])
def test_what_a_server_sent_is_returned_as_it_wrote_it(headers: list[str]) -> None:
    login, challenges = DigestLogin('us"er', "pass"), parse_challenges(headers)
    if not login.accept(challenges):
        assert login.authorization("GET", b"/") is None
        return
    (returned,) = parse_challenges([(login.authorization("GET", b"/") or b"").decode("latin-1")])
    assert returned.scheme == "digest"
    assert returned.parameters["username"] == r"us\"er"
    assert any(
        all(
            returned.parameters.get(name, "") == challenge.parameters.get(name, "")
            for name in ("realm", "nonce", "opaque")
        )
        for challenge in challenges
        if challenge.scheme == "digest"
    )
