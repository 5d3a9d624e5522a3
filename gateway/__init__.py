"""Linli Gateway (邻里网关): the core."""

__version__ = "0.1.0"
