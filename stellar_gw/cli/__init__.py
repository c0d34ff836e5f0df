"""The commands that people run."""
