"""The fixtures of a served dashboard, for the tests here."""

from tests.gateway.dashboard_fixtures import chromium, house, page, served

__all__ = ["chromium", "house", "page", "served"]
