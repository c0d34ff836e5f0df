"""Links to AI agents: the input and output under the dialects."""
