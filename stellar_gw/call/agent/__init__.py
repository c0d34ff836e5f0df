"""A call and its agent: how it is connected, what it may ask, and what callers get when it is not there."""
