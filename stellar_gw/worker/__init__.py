"""A media worker process: RTP ports, sessions and pacing."""
