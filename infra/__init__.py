"""Everything that names a machine, a port or an image: how the product is run."""
