"""The four transactions (RFC 3261 17, RFC 6026): one Automat table each, and the layer that drives them."""
