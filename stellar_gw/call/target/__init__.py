"""Where a transfer may go, and as whom: what an agent asked for, held against its tenant's rules."""
