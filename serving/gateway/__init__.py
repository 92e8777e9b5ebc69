"""The OpenAI-compatible gateway: it passes calls on, and puts every call it served into the ledger."""
