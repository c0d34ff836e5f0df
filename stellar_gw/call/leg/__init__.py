"""One leg of a call, the caller's or a target's: its dialog, its offers and answers, its media."""
