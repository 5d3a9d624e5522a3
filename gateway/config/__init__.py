"""Site files and device models: reading, checking, and the structs they become."""

from .capability import reserved_names, service_actions
from .inspection import inspect_profile, inspect_site, untitled_points
from .options import (
    BusSpec,
    Centre,
    ControlOptions,
    DashboardOptions,
    JournalOptions,
    MetricsOptions,
    UplinkOptions,
)
from .profile import Profile, load_profile, run_example
from .reading import NAME_PATTERN, Mistake, Mistakes, localized
from .site import Site, configuration_digest
from .site_file import available_actions, figures_of, load_profiles, load_site, profile_folders

__all__ = [
    "NAME_PATTERN",
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
    "available_actions",
    "configuration_digest",
    "figures_of",
    "inspect_profile",
    "inspect_site",
    "load_profile",
    "load_profiles",
    "load_site",
    "localized",
    "profile_folders",
    "reserved_names",
    "run_example",
    "service_actions",
    "untitled_points",
]
