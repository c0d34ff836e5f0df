"""A SIP phone for tests and trunk checks, built on the gateway's own floors."""
