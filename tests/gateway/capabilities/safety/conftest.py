"""The certificate of a server on loopback, for the tests here."""

from tests.gateway.capabilities.safety.channels.conftest import certificate

__all__ = ["certificate"]
