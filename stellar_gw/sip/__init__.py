"""The SIP and SDP protocol core: no I/O, time is an argument (RFC 3261, 3264, 8866)."""
