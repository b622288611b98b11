"""Memories that agents build out of notes, with any model: user programs, no part of the kernel."""
