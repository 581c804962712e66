"""See `component`."""
