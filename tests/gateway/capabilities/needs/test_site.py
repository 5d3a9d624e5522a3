from __future__ import annotations

from pathlib import Path

import pytest

from gateway.capabilities.needs.site import DEFAULT_CATEGORIES, NeedsSite
from gateway.config import Mistakes, Site, load_site
from gateway.words import LANGUAGES

SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[rule.late]
hazard = "fault"
when = [{ point = "needs.overdue", above = 5 }]
"""
NEEDS = """
[needs]
keep_days = 90
address = "http://192.168.1.10:8080/"
owners = { wang = "王主任", nurse = { zh = "护士", en = "Nurse" } }
referrals = { clinic = { zh = "社区医院", en = "Clinic" } }

[needs.category.flu]
title = { zh = "接种", en = "Vaccination" }
days = 2
owner = "nurse"
referral = "clinic"
"""


def load(path: Path, text: str) -> Site:
    file = path / "site.toml"
    file.write_text(SITE + text, "utf-8")
    return load_site(file)


def test_without_the_section_nothing_is_registered(tmp_path: Path) -> None:
    site = load(tmp_path, "")
    assert site.part(NeedsSite).options is None
    assert site.part(NeedsSite).reception is None


def test_an_empty_section_has_all_that_a_centre_needs(tmp_path: Path) -> None:
    reception = load(tmp_path, "[needs]\n").part(NeedsSite).reception
    assert reception
    assert list(reception.categories) == list(DEFAULT_CATEGORIES)
    assert {category.owner for category in reception.categories.values()} == {"desk"}
    named = [*(each.title for each in reception.categories.values()), *reception.owners.values()]
    for title in (*named, *reception.referrals.values()):
        assert title.keys() == set(LANGUAGES)
        assert title["zh"] != title["en"]
        assert "need-" not in title["zh"] + title["en"]
    assert {each.referral for each in reception.categories.values()} <= {"", *reception.referrals}


def test_a_site_may_name_its_own(tmp_path: Path) -> None:
    site = load(tmp_path, NEEDS)
    reception = site.part(NeedsSite).reception
    assert reception
    assert list(reception.categories) == ["flu"]
    flu = reception.categories["flu"]
    assert (flu.days, flu.owner, flu.referral) == (2, "nurse", "clinic")
    assert reception.owners["wang"] == {"zh": "王主任", "en": "王主任"}
    assert reception.address == "http://192.168.1.10:8080"
    assert site.part(NeedsSite).options
    assert site.part(NeedsSite).options.path == Path("/var/lib/linli/needs.db")


@pytest.mark.parametrize(
    ("before", "after", "where", "key"),
    [
        ("keep_days = 90", "keep_days = 0", "needs.keep_days", "needs-days"),
        ("keep_days = 90", "keep_days = 7", "needs.reopen_days", "needs-reopen"),
        ("keep_days = 90", "most_open = 0", "needs.most_open", "needs-most"),
        ("keep_days = 90", "phone_per_hour = -1", "needs.phone_per_hour", "needs-most"),
        ("keep_days = 90", 'path = "a"\nkey = "a"', "needs.key", "needs-key-path"),
        ("keep_days = 90", "keepdays = 9", "needs.keepdays", "key-unknown"),
        ("http://192.168.1.10:8080/", "192.168.1.10", "needs.address", "needs-address"),
        ("http://192.168.1.10:8080/", "http://a/b?c", "needs.address", "needs-address"),
        ('wang = "王主任"', 'Wang = "王主任"', "needs.owners.Wang", "name-form"),
        ('wang = "王主任"', 'wang = " "', "needs.owners.wang", "title-empty"),
        ('wang = "王主任"', "wang = 1", "needs.owners", "value-text"),
        ('owner = "nurse"', 'owner = "nobody"', "needs.category.flu.owner", "needs-name"),
        ('referral = "clinic"', 'referral = "moon"', "needs.category.flu.referral", "needs-name"),
        ("days = 2", "", "needs.category.flu", "key-missing"),
        ("days = 2", "days = 9999", "needs.category.flu.days", "needs-days"),
        ("category.flu", "category.Flu", "needs.category.Flu", "name-form"),
        ("category.flu]", "category]", "needs.category.days", "table-expected"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, before: str, after: str, where: str, key: str
) -> None:
    assert before in NEEDS
    with pytest.raises(Mistakes) as refused:
        load(tmp_path, NEEDS.replace(before, after, 1))
    found = [(mistake.where, mistake.key) for mistake in refused.value.mistakes]
    assert (where, key) in found
    for mistake in refused.value.mistakes:
        assert mistake.line > 10
        for language in LANGUAGES:
            assert " ? " not in mistake.text(language).partition(": ")[2]


def test_the_file_and_its_key_stay_while_the_gateway_runs(tmp_path: Path) -> None:
    running = load(tmp_path, NEEDS)
    file = tmp_path / "site.toml"
    file.write_text(SITE + NEEDS.replace("keep_days = 90", 'keep_days = 60\npath = "/elsewhere.db"'))
    with pytest.raises(Mistakes) as refused:
        load_site(file, running=running)
    assert [(each.where, each.key) for each in refused.value.mistakes] == [("needs.path", "needs-restart")]
