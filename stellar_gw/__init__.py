"""stellar-gw: the telephony gateway that connects any phone system to any AI voice agent."""

__version__ = "0.1.0"
