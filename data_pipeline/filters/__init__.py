"""Filters: rules that drop a document for a named reason with a score."""
