"""The same cases for every SDK, run by its own interpreter."""
