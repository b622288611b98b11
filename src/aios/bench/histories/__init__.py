"""Measures histories: how small they are kept, and who leaves memory first."""
