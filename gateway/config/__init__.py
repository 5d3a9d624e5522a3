"""What people write down of their centre: its site, and the models of its devices."""

from .profile import Profile, load_profile, try_example
from .reading import NAME, Mistake, Mistakes
from .site import (
    BusSpec,
    Centre,
    ControlOptions,
    DashboardOptions,
    JournalOptions,
    MetricsOptions,
    Site,
    digest,
    load_site,
    profile_folders,
    titles,
)

__all__ = [
    "NAME",
    "BusSpec",
    "Centre",
    "ControlOptions",
    "DashboardOptions",
    "JournalOptions",
    "MetricsOptions",
    "Mistake",
    "Mistakes",
    "Profile",
    "Site",
    "digest",
    "load_profile",
    "load_site",
    "profile_folders",
    "titles",
    "try_example",
]
