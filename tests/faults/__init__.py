"""Fault injection on a whole stack, for as long as one likes: `make faults SEED=1 MINUTES=5`."""
