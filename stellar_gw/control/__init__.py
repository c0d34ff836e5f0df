"""Messages between the gateway and its media workers."""
