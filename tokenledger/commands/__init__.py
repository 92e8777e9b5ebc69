"""The commands of `tokenledger`: one module each, with `add_arguments(parser)` and `run(options) -> exit status`."""
