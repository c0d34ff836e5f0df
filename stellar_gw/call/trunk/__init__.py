"""What trunks want besides calls: registration, keepalive, and a look now and then whether they are there."""
