"""The kernel's doors: each translates a wire into system calls and back, and decides nothing."""
