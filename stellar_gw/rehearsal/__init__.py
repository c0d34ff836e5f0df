"""A rehearsal of a call with an agent, without any SIP: what ``stellar-gw-agent-test`` does."""
