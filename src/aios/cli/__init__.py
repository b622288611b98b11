"""The command line: it translates between people and the kernel's contract, and decides nothing itself."""
