"""Tests of how the stack is laid out, without starting it."""
