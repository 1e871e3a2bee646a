"""Published model families: a small file each, get_config(size)."""
