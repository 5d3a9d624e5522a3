"""The kit that web pages are made of."""
