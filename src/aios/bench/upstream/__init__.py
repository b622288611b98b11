"""A model server that behaves as told, and counts what it did: the other side of the scheduling bench."""
