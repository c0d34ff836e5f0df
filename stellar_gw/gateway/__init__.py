"""The signalling process: drives the SIP core, its calls and its pool of workers."""
