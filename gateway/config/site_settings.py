"""What a manager may change in a site file."""

from __future__ import annotations

from .capability import capabilities
from .settable import WEEKLY_HOURS, SettingGroup, SettingSection, title_setting
from .site import Site


def setting_sections(site: Site) -> tuple[SettingSection, ...]:
    """The sections of the core, and of every capability."""
    return (
        SettingSection(
            name="centre",
            groups=(SettingGroup(path=("site",), settings=(title_setting("contact", "privacy-contact"),)),),
        ),
        SettingSection(name="hours", groups=(SettingGroup(path=("hours",), settings=(WEEKLY_HOURS,)),)),
        SettingSection(
            name="devices",
            groups=tuple(
                SettingGroup(
                    path=("device", device.name),
                    title=device.title,
                    settings=(title_setting(), title_setting("room", "room")),
                )
                for device in site.devices.values()
            ),
        ),
        *(section for each in capabilities() for section in each.section.settings(site)),
    )
