"""`aios bench context`: whether an interruption changes anything, and what it costs."""
