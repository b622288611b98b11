"""Notes: what principals remember. `manager` executes their calls."""
