"""The processes of one job, and how they watch each other."""
