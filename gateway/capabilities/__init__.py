"""What the centre can do: a folder each, which declares itself once."""
