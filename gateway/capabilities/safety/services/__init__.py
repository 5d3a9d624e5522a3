"""The reducers of safety. Pure."""
