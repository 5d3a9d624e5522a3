"""Ways to reach people, one file each: a file offers one `CHANNEL`; a site's `type` is its name."""

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


def load_channel(name: str) -> Channel:
    """The channel of that name; only now is its library imported. Raises `ConfigError`."""
    if name not in CHANNEL_TYPES:
        raise ConfigError("channel-unknown", channel=name, known=", ".join(CHANNEL_TYPES))
    channel = import_module(f"gateway.capabilities.safety.channels.{name}").CHANNEL
    assert isinstance(channel, Channel)
    return channel
