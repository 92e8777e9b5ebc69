"""Watches what goes into the stream and what comes of it: lost numbers, silent sources, rejects, delays."""
