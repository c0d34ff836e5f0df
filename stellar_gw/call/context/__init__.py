"""What an INVITE says of its caller, bounded: what an agent is told of it, and what transfers and records keep."""
