"""What providers say we owe: their reports read and compared with the ledger, every difference named."""
