"""Tests against real servers, which the `stack` fixture starts."""
