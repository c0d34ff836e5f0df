"""Agent wire formats, turned into events and back; no I/O."""
