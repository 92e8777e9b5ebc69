"""Pricing: every expected figure is computed by hand or by another library."""
