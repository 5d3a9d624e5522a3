"""The commands of visitors."""
