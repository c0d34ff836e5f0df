"""Packets deciphered and enciphered where they are, by libsrtp.

pylibsrtp offers copies alone, each by way of a buffer of the session's own; so libsrtp is called by what lies under the
binding, whose version is pinned for that. A module of its own, because every packet of an SRTP leg passes here: it is
compiled (:mod:`stellar_gw.compiled`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pylibsrtp._binding import ffi, lib

InPlace = Callable[[Any, Any, int], bool]
"""Deciphers or enciphers, by libsrtp's handle of a context, the packet of so many octets at an address; False where it
cannot be."""

_length: Final[Any] = ffi.new("int *")
"""Of the packet that is being deciphered or enciphered: one for all, so that it is in the processor's cache."""
_open: Final[Any] = lib.srtp_unprotect
_seal: Final[Any] = lib.srtp_protect


def deciphered(handle: Any, address: Any, octets: int) -> bool:
    """A packet of a stream that the context has heard before."""
    _length[0] = octets
    status: int = _open(handle, address, _length)
    return status == 0


def enciphered(handle: Any, address: Any, octets: int) -> bool:
    """A packet of a stream of ours that has begun."""
    _length[0] = octets
    status: int = _seal(handle, address, _length)
    return status == 0
