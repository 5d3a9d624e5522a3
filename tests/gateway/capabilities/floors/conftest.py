"""The fixtures of a served dashboard, for the tests here."""

from tests.gateway.dashboard_fixtures import house

__all__ = ["house"]
