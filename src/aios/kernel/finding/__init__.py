"""Finding files: what of them can be searched, and how a search is asked and answered."""
