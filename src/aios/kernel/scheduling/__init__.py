"""Which call runs next: programs, their order, and what was learnt of them."""
