"""The kit that commands are made of."""
