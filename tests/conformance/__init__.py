"""Recorded traffic of real providers, held against genai-prices."""
