"""nanojaxlm: build your own language model from scratch. Importing this package imports no jax."""
