"""The gateway's sockets: UDP, TCP and TLS flows."""
