"""What people write down of their centre: its site, and the models of its devices."""

from .capability import reserved_names, service_actions
from .options import (
    BusSpec,
    Centre,
    ControlOptions,
    DashboardOptions,
    JournalOptions,
    MetricsOptions,
    UplinkOptions,
)
from .profile import Profile, load_profile, try_example
from .reading import NAME, Mistake, Mistakes, localized
from .site import Site, digest, load_models, load_site, offered, profile_folders

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
    "UplinkOptions",
    "digest",
    "load_models",
    "load_profile",
    "load_site",
    "localized",
    "offered",
    "profile_folders",
    "reserved_names",
    "service_actions",
    "try_example",
]
