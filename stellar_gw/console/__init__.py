"""What operators and agents ask for by HTTP."""
