"""Histories: the messages of conversations. `manager` executes their calls."""
