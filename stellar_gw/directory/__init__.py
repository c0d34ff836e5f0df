"""Who may call, whom, and which agent answers."""
