"""The only code that touches network, model, disk, subprocess or time."""
