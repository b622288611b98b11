"""What `aios fsck` looks at: every row and blob of every table, and whether they agree with each other."""
