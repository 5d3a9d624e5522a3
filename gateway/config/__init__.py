"""What people write down of their centre: its site, and the models of its devices."""

from gateway.capabilities.needs.site import NeedsOptions
from gateway.capabilities.safety.site.duties import load_plan

from .profile import Profile, load_profile, try_example
from .reading import NAME, Mistake, Mistakes, localized
from .site import (
    RESERVED,
    BusSpec,
    Centre,
    ControlOptions,
    DashboardOptions,
    JournalOptions,
    MetricsOptions,
    Site,
    digest,
    load_models,
    load_site,
    offered,
    profile_folders,
)

__all__ = [
    "NAME",
    "RESERVED",
    "BusSpec",
    "Centre",
    "ControlOptions",
    "DashboardOptions",
    "JournalOptions",
    "MetricsOptions",
    "Mistake",
    "Mistakes",
    "NeedsOptions",
    "Profile",
    "Site",
    "digest",
    "load_models",
    "load_plan",
    "load_profile",
    "load_site",
    "localized",
    "offered",
    "profile_folders",
    "try_example",
]
