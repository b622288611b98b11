"""What agents are written with. Knows the contract only, never the kernel."""
