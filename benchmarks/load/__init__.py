"""What the media benchmarks share: the load generator, the two relays under test, an agent, tables and plots."""
