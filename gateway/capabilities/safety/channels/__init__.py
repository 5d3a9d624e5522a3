"""Ways to reach people, one file each: a file offers one `CHANNEL`; a site's `type` is its name."""

from importlib import import_module

from gateway.model import ConfigError

from .channel import Channel, Person, Text, Undelivered, is_email

TYPES = ("dingtalk", "sms", "smtp", "webhook", "wecom")

__all__ = ["TYPES", "Channel", "Person", "Text", "Undelivered", "is_email", "load"]


def load(name: str) -> Channel:
    """The channel of that name; only now is its library imported. Raises `ConfigError`."""
    if name not in TYPES:
        raise ConfigError("channel-unknown", channel=name, known=", ".join(TYPES))
    channel = import_module(f"gateway.capabilities.safety.channels.{name}").CHANNEL
    assert isinstance(channel, Channel)
    return channel
