"""`aios bench schedule`: arms against workloads, each beside what no scheduler can beat."""
