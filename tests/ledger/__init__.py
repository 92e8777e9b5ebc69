"""Tests of the ledger, on a private Postgres."""
