"""The roles of people, for whoever makes pages."""

from gateway.model.role import Role

__all__ = ["Role"]
