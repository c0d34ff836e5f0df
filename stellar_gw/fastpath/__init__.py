"""The privileged helper of the kernel fast path: the only part that needs CAP_NET_ADMIN, and hence a process apart."""
