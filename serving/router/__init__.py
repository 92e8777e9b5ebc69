"""The router: a prompt, what the stream knows and a policy → a tier. Pure but for `versions.py` and `pairs.py`."""
