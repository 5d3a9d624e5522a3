"""Channels to notify people, one file each: a file offers one `CHANNEL`; its name is the `type` in the site
file."""

from importlib import import_module

from gateway.model import ConfigError

from .channel import AlarmMessage, Channel, Contact, DeliveryFailed, is_email

CHANNEL_TYPES = ("dingtalk", "sms", "smtp", "webhook", "wecom")

__all__ = [
    "CHANNEL_TYPES",
    "AlarmMessage",
    "Channel",
    "Contact",
    "DeliveryFailed",
    "is_email",
    "load_channel",
]


def load_channel(channel_type: str) -> Channel:
    """The channel of a type; its library is imported only now. Raises `ConfigError` for an unknown type."""
    if channel_type not in CHANNEL_TYPES:
        raise ConfigError("channel-unknown", channel=channel_type, known=", ".join(CHANNEL_TYPES))
    channel = import_module(f"gateway.capabilities.safety.channels.{channel_type}").CHANNEL
    assert isinstance(channel, Channel)
    return channel
