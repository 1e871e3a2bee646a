"""Deduplication: copies and near-copies are dropped, the best copy stays."""
