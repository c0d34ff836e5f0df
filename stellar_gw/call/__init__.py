"""One call, from admission to its record; knows no sockets."""
