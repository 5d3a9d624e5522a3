"""Contacts, roster, channels and plans of a site: what could leave an alarm with nobody is refused."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.capabilities.safety.site import SafetySite
from gateway.capabilities.safety.site.escalation import first_uncovered_time
from gateway.config import Mistakes, Site, inspect_site, load_site
from gateway.model import ClockQuality, Hazard, Stamp
from gateway.words import LANGUAGES

SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[contact.wang]
title = { zh = "王主任", en = "Ms Wang" }
phone = "+8613800138000"
email = "wang@example.cn"

[contact.li]
phone = "13900139000"

[contact.guard]
phone = "110"

[roster.day]
contacts = ["li"]
mon-fri = "08:00-20:00"
closed = ["2027-01-01"]

[roster.night]
contacts = ["guard"]
mon-fri = "20:00-08:00"

[channel.sms]
type = "sms"
port = "/dev/ttyUSB2"

[channel.mail]
type = "smtp"
host = "smtp.example.cn"
sender = "alarm@example.cn"

[channel.group]
type = "wecom"
secret_file = "/etc/linli/wecom.key"

[escalation.default]
steps = [
  { tell = ["duty"], by = ["sms", "group"] },
  { after = 300, tell = ["wang"], by = ["sms", "mail"] },
]
fallback = ["wang"]

[escalation.fire]
steps = [{ tell = ["duty", "wang"], by = ["sms"] }]
fallback = ["guard"]
repeat = 300
drills = true
"""


WANG = 'tell = ["wang"], by = ["sms", "mail"]'


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def load(path: Path, text: str) -> Site:
    file = path / "site.toml"
    file.write_text(text, "utf-8")
    return load_site(file)


def test_a_site_says_whom_to_tell(tmp_path: Path) -> None:
    telling = load(tmp_path, SITE).part(SafetySite).notification
    assert set(telling.plans) == set(Hazard)
    assert telling.plans[Hazard.FIRE].include_drills
    assert telling.plans[Hazard.WATER].steps[1].after == 300
    assert telling.contacts["wang"].title["en"] == "Ms Wang"
    assert telling.reachable_contacts == {
        "sms": frozenset({"wang", "li", "guard"}),
        "mail": frozenset({"wang"}),
        "group": None,
    }


@pytest.mark.parametrize(
    ("local", "on_duty"),
    [
        (at("2026-11-20 12:00"), ("li",)),  # a Friday
        (at("2026-11-20 20:00"), ("guard",)),
        (at("2026-11-21 07:59"), ("guard",)),
        (at("2026-11-21 08:00"), ()),
        (at("2027-01-01 12:00"), ()),
        (None, ("li", "guard")),
    ],
)
def test_who_is_on_duty(tmp_path: Path, local: datetime | None, on_duty: tuple[str, ...]) -> None:
    duty = load(tmp_path, SITE).part(SafetySite).notification.duty_roster(lambda _: local)
    assert duty(Stamp(0, 0, "", ClockQuality.SET)) == on_duty


def test_the_example_of_the_manual_is_well(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[5] / "SAFETY.md").read_text("utf-8")
    example = manual[manual.index("[contact.") :]
    telling = (
        load(tmp_path, SITE[: SITE.index("[contact.")] + example[: example.index("```")])
        .part(SafetySite)
        .notification
    )
    assert set(telling.plans) == set(Hazard)
    assert first_uncovered_time(telling.shifts.values()) is None


def test_a_site_may_tell_nobody(tmp_path: Path) -> None:
    telling = load(tmp_path, SITE[: SITE.index("[contact.wang]")]).part(SafetySite).notification
    assert (telling.plans, telling.channels) == ({}, {})


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('phone = "110"', 'phone = "call me"', 16, "contact-phone"),
        ('email = "wang@example.cn"', 'email = "wang"', 10, "channel-email"),
        ("[contact.guard]", "[contact.duty]", 15, "name-reserved"),
        ('contacts = ["guard"]', 'contacts = ["nobody"]', 24, "contact-unknown-name"),
        ('contacts = ["guard"]', "contacts = []", 24, "roster-contacts"),
        ('"20:00-08:00"', '"20-8"', 25, "hours-form"),
        ('type = "sms"', 'type = "pigeon"', 28, "channel-unknown"),
        ('type = "sms"\n', "", 27, "key-missing"),
        ('host = "smtp.example.cn"\n', "", 31, "key-missing"),
        ('host = "smtp.example.cn"', 'host = "smtp.example.cn:465"', 33, "channel-host"),
        ('host = "smtp.example.cn"', 'host = "smtp.example.cn"\npassword = "x"', 34, "key-unknown"),
        ("[escalation.fire]", "[escalation.flood]", 47, "plan-hazard"),
        (WANG, 'tell = ["zhao"], by = ["mail"]', 41, "contact-unknown-name"),
        (WANG, 'tell = ["li"], by = ["mail"]', 41, "plan-unreached"),
        (WANG, 'tell = ["wang"], by = ["fax"]', 41, "channel-unknown-name"),
        (WANG, 'tell = [], by = ["sms"]', 41, "plan-nobody"),
        ("{ tell = [", "{ after = 900, tell = [", 41, "plan-order"),
        ('fallback = ["wang"]\n', "", 41, "roster-hole"),
        ('fallback = ["guard"]\n', "", 48, "roster-hole"),
        ("repeat = 300", "repeat = 5", 50, "plan-repeat"),
    ],
)  # fmt: skip
def test_what_could_leave_nobody_told_is_refused(
    tmp_path: Path, old: str, new: str, line: int, key: str
) -> None:
    assert old in SITE
    with pytest.raises(Mistakes) as wrong:
        load(tmp_path, SITE.replace(old, new, 1))
    mistake = next(each for each in wrong.value.mistakes if each.key == key)
    assert mistake.line == line
    for language in LANGUAGES:
        assert "?" not in mistake.text(language)


def test_a_roster_without_a_hole_needs_no_fallback(tmp_path: Path) -> None:
    whole = SITE.replace("mon-fri", "mon-sun").replace('fallback = ["wang"]\n', "")
    with pytest.raises(Mistakes) as wrong:
        load(tmp_path, whole)
    hole = next(each for each in wrong.value.mistakes if each.key == "roster-hole")
    assert hole.facts["hole"] == "2027-01-01 08:00", "a holiday is a hole, too"
    load(tmp_path, whole.replace('closed = ["2027-01-01"]\n', ""))


PUSH = '\n[channel.phones]\ntype = "push"\nemail = "it@example.cn"\n'


@pytest.mark.parametrize(
    ("serving", "found"),
    [
        ("", [("channel.phones.type", "channel-https")]),
        ('host = "0.0.0.0"\nplain_http = true', [("channel.phones.type", "channel-https")]),
        ("local_ca = true", []),
        ('certificate_file = "/tmp/pages.pem"\nprivate_key_file = "/tmp/pages.key"', []),
        ('trusted_proxies = ["127.0.0.1"]', []),
    ],
)
def test_push_needs_a_dashboard_with_https(
    tmp_path: Path, serving: str, found: list[tuple[str, str]]
) -> None:
    """Browsers offer the Push API in secure contexts only."""
    site = load(tmp_path, f"{SITE}{PUSH}\n[dashboard]\n{serving}\n")
    mistakes = inspect_site(tmp_path / "site.toml", site)
    assert [(each.where, each.key) for each in mistakes if each.where.startswith("channel.phones")] == found
