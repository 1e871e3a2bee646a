"""The Transformer and its parts, as Flax linen modules."""
