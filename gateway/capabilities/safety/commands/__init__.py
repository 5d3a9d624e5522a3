"""The commands of safety."""
