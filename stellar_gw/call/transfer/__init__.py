"""Sending a caller to a person: by REFER, by a call of ours and a bridge, or by one after the other."""
