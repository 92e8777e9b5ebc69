"""`Decide` over gRPC."""
