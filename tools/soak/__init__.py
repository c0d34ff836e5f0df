"""``make soak``: the long runs that the suite has samples of."""
