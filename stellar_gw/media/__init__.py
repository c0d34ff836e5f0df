"""The media protocol core: packets, codecs, jitter, playout; no I/O, time is an argument."""
