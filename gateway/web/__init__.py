"""The toolkit for web pages."""
