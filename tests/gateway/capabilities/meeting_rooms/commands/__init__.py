"""The commands of meeting rooms."""
