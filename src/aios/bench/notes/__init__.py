"""Notes: how fast they are kept and found, and how often what is found is right."""
