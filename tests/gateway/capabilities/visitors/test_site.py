"""Rooms and doors of a site's file."""

from pathlib import Path

import pytest

from gateway.capabilities.safety.site import SafetySite
from gateway.capabilities.visitors.services import CENTRE, OUTSIDE
from gateway.capabilities.visitors.site import VisitorsSite
from gateway.config import Mistakes, Site, load_site
from gateway.model import Hazard

SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[bus.hall]
driver = "modbus"
url = "tcp://127.0.0.1:502"

[device.east]
profile = "door-counter/generic-ir2"
bus = "hall"
unit = 1

[device.east-spare]
profile = "door-counter/generic-ir2"
bus = "hall"
unit = 2

[device.dance]
profile = "door-counter/generic-ir2"
bus = "hall"
unit = 3

[device.smoke]
profile = "smoke/generic-rs485"
bus = "hall"
unit = 4

[visitors]
limit = 200
settle = 20
grace = 10

[room.dance]
title = { zh = "舞蹈室", en = "Dance room" }
limit = 30

[door.main]
title = "East door"
counters = ["east", "east-spare"]

[door.dance-door]
counters = ["dance"]
from = "centre"
to = "dance"

[rule.sweaty]
hazard = "crowd"
when = [{ point = "visitors.room.dance.inside", above = 25 }]
"""


def load(path: Path, text: str = SITE) -> Site:
    file = path / "site.toml"
    file.write_text(text, "utf-8")
    return load_site(file)


def test_a_site_says_how_people_walk_through_it(tmp_path: Path) -> None:
    layout = load(tmp_path).part(VisitorsSite).layout
    assert (layout.limit, layout.settle_s, layout.grace_s) == (200, 1200, 600)
    main, dance = layout.doors["main"], layout.doors["dance-door"]
    assert (main.counters, main.outer, main.inner) == (("east", "east-spare"), OUTSIDE, CENTRE)
    assert (dance.outer, dance.inner, dance.title["zh"]) == (CENTRE, "dance", "dance-door")
    assert layout.rooms["dance"].title["en"] == "Dance room"


def test_limits_are_rules_of_the_site(tmp_path: Path) -> None:
    rules = load(tmp_path).part(SafetySite).rules
    # In this order: if one reading exceeds several limits, the alarm of the whole centre is first.
    assert list(rules) == ["crowd", "crowd-dance", "sweaty"]
    assert all(rule.hazard is Hazard.CROWD and rule.device == "visitors" for rule in rules.values())
    assert [each.point for each in rules["crowd-dance"].conditions] == ["visitors.room.dance.inside"]
    assert (rules["crowd"].conditions[0].above, rules["crowd"].conditions[0].hysteresis) == (200, 10)
    assert (rules["crowd"].title["zh"], rules["crowd-dance"].title["zh"]) == ("全中心", "舞蹈室")


def test_a_rule_of_ones_own_takes_the_place_of_a_limit(tmp_path: Path) -> None:
    rule = '[rule.crowd]\nhazard = "crowd"\nwhen = [{ point = "visitors.inside", above = 150 }]\n'
    assert load(tmp_path, f"{SITE}\n{rule}").part(SafetySite).rules["crowd"].conditions[0].above == 150


def test_a_mistake_of_another_capability_does_not_hide_a_room_without_doors(tmp_path: Path) -> None:
    text = SITE.replace("[door.main]", "[room.loft]\n[door.main]")
    with pytest.raises(Mistakes) as caught:
        load(tmp_path, f'{text}\n[output.siren]\ndevice = "nobody"\non = "on"\nhazards = ["fire"]\n')
    assert {mistake.key for mistake in caught.value.mistakes} == {"room-unreachable", "device-unknown"}


def test_without_doors_there_is_nothing_to_say(tmp_path: Path) -> None:
    site = load(tmp_path, SITE[: SITE.index("[visitors]")])
    assert (
        dict(site.part(VisitorsSite).layout.rooms),
        dict(site.part(VisitorsSite).layout.doors),
        site.part(SafetySite).rules,
    ) == ({}, {}, {})


@pytest.mark.parametrize(
    ("old", "new", "where", "key"),
    [
        ("limit = 200", "limit = 0", "visitors.limit", "visitors-limit"),
        ("limit = 200", 'limit = "many"', "visitors.limit", "value-integer"),
        ("settle = 20", "settle = -1", "visitors.settle", "visitors-minutes"),
        ("grace = 10", "gracious = 10", "visitors.gracious", "key-unknown"),
        ("[visitors]", "[vistors]", "vistors", "key-unknown"),
        ("limit = 30", "limit = -3", "room.dance.limit", "visitors-limit"),
        ('{ zh = "舞蹈室", en = "Dance room" }', "{}", "room.dance.title", "title-empty"),
        ("[room.dance]", "[room.outside]\n[room.dance]", "room.outside", "name-reserved"),
        ('["east", "east-spare"]', '["east", "west"]', "door.main.counters", "door-counter"),
        ('["east", "east-spare"]', '["east", "smoke"]', "door.main.counters", "door-counter"),
        ('["east", "east-spare"]', '["east", "east"]', "door.main.counters", "door-counter-twice"),
        ('["east", "east-spare"]', '["east", "dance"]', "door.dance-door.counters", "door-counter-twice"),
        ('["east", "east-spare"]', "[]", "door.main.counters", "door-counters"),
        ('counters = ["dance"]\n', "", "door.dance-door", "key-missing"),
        ('from = "centre"', 'from = "street"', "door.dance-door.from", "door-side"),
        ('to = "dance"', 'to = "dancing"', "door.dance-door.to", "door-side"),
        ('to = "dance"', 'to = "centre"', "door.dance-door.to", "door-nowhere"),
        ('from = "centre"', "from = 3", "door.dance-door.from", "value-text"),
        ("[door.main]", "[room.loft]\n[door.main]", "room.loft", "room-unreachable"),
        ("[door.main]", "[door.dance]", "door.dance", "door-name"),
        ("room.dance.inside", "room.loft.inside", "rule.sweaty.when", "rule-point"),
        ("[room.dance]", "[rooms.dance]", "rooms", "key-unknown"),
    ],
)
def test_each_mistake_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, where: str, key: str
) -> None:
    assert old in SITE
    with pytest.raises(Mistakes) as refused:
        load(tmp_path, SITE.replace(old, new, 1))
    assert (where, key) in [(each.where, each.key) for each in refused.value.mistakes]
    for mistake in refused.value.mistakes:
        for language in ("zh", "en"):
            assert mistake.text(language)


@pytest.mark.parametrize("section", ["visitors", "room", "door"])
@pytest.mark.parametrize("value", ["3", '"x"', "[1]", "[{ a = 1 }]", "{ hall = 3 }"])
def test_what_is_no_table_is_named(tmp_path: Path, section: str, value: str) -> None:
    text = SITE[: SITE.index("[visitors]")].replace("[site]", f"{section} = {value}\n\n[site]", 1)
    with pytest.raises(Mistakes) as refused:
        load(tmp_path, text)
    assert all(each.where.split(".")[0] == section for each in refused.value.mistakes)


def test_a_counter_with_a_mistake_of_its_own_is_not_blamed_twice(tmp_path: Path) -> None:
    with pytest.raises(Mistakes) as refused:
        load(tmp_path, SITE.replace("unit = 3", "unit = -3"))
    assert {each.where.split(".")[0] for each in refused.value.mistakes} == {"device"}


def test_a_room_that_nobody_counts_can_still_be_booked(tmp_path: Path) -> None:
    booking = '[room.loft.booking]\nhours = { mon-fri = "08:00-18:00" }\nlongest = 120\n'
    rooms = load(tmp_path, f"{SITE}\n{booking}").part(VisitorsSite).layout.rooms
    assert rooms["loft"].resource.longest_ms == 7_200_000
    assert rooms["loft"].resource.opening.week[5] == ()
    with pytest.raises(Mistakes) as caught:
        load(tmp_path, f"{SITE}\n{booking}shortest = 0\n")
    assert [mistake.where for mistake in caught.value.mistakes] == ["room.loft.booking.shortest"]
