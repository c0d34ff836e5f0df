"""Who may call, and how often: judged before anything of a call exists."""
