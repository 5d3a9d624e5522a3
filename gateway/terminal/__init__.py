"""The toolkit for commands."""
