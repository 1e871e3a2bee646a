"""What became of a run, gathered from its files and told on one page."""
