"""The feature store: what the stream and the ledger know, as features a router can read online."""
