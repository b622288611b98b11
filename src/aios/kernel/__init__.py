"""The kernel: one room for each module of the paper; it owns all state, on one event loop."""
