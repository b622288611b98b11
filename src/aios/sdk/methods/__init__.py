"""Ways for an agent to work, ready made."""
