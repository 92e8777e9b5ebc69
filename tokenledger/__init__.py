"""What an LLM call means: its usage, its price and where its time went. Pure: no clock, network, file or randomness."""
