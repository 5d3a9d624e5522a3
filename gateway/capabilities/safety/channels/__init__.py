"""Channels to notify people, one file each: a file offers one `CHANNEL`; its name is the `type` in the site
file."""

from importlib import import_module
from pkgutil import iter_modules

from gateway.model import ConfigError

from ..channel import AlarmMessage, Channel, Contact, DeliveryFailed, is_email

__all__ = [
    "AlarmMessage",
    "Channel",
    "Contact",
    "DeliveryFailed",
    "channel_types",
    "is_email",
    "load_channel",
]


def channel_types() -> list[str]:
    """Every type of channel there is."""
    return sorted(module.name for module in iter_modules(__path__))


def load_channel(channel_type: str) -> Channel:
    """The channel of a type; its library is imported only now. Raises `ConfigError` for an unknown type."""
    if channel_type not in channel_types():
        raise ConfigError("channel-unknown", channel=channel_type, known=", ".join(channel_types()))
    channel = import_module(f"{__name__}.{channel_type}").CHANNEL
    assert isinstance(channel, Channel)
    return channel
