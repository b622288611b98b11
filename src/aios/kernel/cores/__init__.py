"""LLM cores: the gate that each has, and what the gate learns of the endpoint behind it."""
