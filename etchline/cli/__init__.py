"""The `etchline` command."""
