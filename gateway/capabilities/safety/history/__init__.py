"""The history of alarms and events, read from the journal."""
