"""The commands of needs."""
