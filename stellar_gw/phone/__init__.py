"""The test phone: places and takes calls, plays and hears audio, and reports what it measured."""
