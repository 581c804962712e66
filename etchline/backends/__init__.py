"""Engines that run the networks behind one interface; only the module of an engine imports its framework."""
