"""Files: versioned, in folders, kept as chunks of content. `storage.py` calls these functions."""
