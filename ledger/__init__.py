"""The ledger: where calls are charged exactly once, in PostgreSQL."""
