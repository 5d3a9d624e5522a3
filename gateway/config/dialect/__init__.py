"""Dialect files: a platform's messages, as data."""
