"""Text out of documents that nobody vouches for: read in a process of its own, with limits."""
