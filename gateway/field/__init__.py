"""The field: lines that are polled or listened to, their schedule, their diagnosis, and the scan."""
