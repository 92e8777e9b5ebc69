"""Where the time of a call went, and how shared cost is divided."""
