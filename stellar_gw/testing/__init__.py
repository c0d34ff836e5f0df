"""What users may test against: an in-memory network, a SIP peer, verified fakes."""
