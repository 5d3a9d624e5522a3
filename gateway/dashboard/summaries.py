"""The part of a capability without pages of its own: a tile for each service that has a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.model import Service, Value
from gateway.web.gallery import GalleryMoment
from gateway.web.part import PagePart, PartInput, Tile
from gateway.web.view import SUMMARY_INTERVAL_S, is_stale, wall_ms


class ServiceSummary(msgspec.Struct, frozen=True):
    """The latest summary of a service; `values` is empty before the first one."""

    service: str
    values: Mapping[str, Value]
    stale: bool


SummaryView = tuple[ServiceSummary, ...]


def summary_part(name: str, services: Sequence[type[Service]]) -> PagePart[None, SummaryView]:
    """The part of the capability of that name."""
    names = tuple(kind.name for kind in services if kind.summary is not Service.summary)

    def view(_settings: None, part_input: PartInput) -> SummaryView:
        return tuple(_summary(service, part_input) for service in names)

    def sample(moment: GalleryMoment) -> SummaryView:
        return tuple(ServiceSummary(service, {}, stale=moment.state == "stale") for service in names)

    tile = Tile("core/summary-tiles", order=80, on_wall=True)
    return PagePart(name=name, summaries=names, view=view, sample=sample, tiles=(tile,))


def _summary(service: str, part_input: PartInput) -> ServiceSummary:
    sample = part_input.snapshot.samples.get(service)
    if sample is None:
        return ServiceSummary(service, {}, stale=False)
    stale = is_stale(wall_ms(sample.at, part_input.now), SUMMARY_INTERVAL_S, part_input.now)
    return ServiceSummary(service, sample.body["values"], stale)
