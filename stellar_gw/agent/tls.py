"""TLS as a client of agents."""

from __future__ import annotations

import ssl


def client_tls(ca_file: str = "") -> ssl.SSLContext:
    """Certificates and host names are checked against the system's store, and ``ca_file`` besides.

    :raise OSError: if the file cannot be read; ``ssl.SSLError`` if it holds no certificate.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
