"""data_pipeline: raw documents become a token store. Importing this package imports no jax."""
