"""Hosts of URIs: what is an address, what is a name, and what means nothing outside its owner's network."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_NOT_REACHABLE = tuple(map(ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "224.0.0.0/4", "240.0.0.0/4", "::/127", "fc00::/7", "fe80::/10", "ff00::/8",
)))  # fmt: skip
_PRIVATE_NAMES = ("localhost", "local", "internal", "invalid", "lan", "home", "localdomain")


def numeric(host: str) -> str | None:
    """A host that is an address, in its usual spelling: no brackets, IPv4-mapped IPv6 as IPv4; None for a name."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address if mapped is None else mapped)


def is_private(host: str) -> bool:
    """Whether a host means nothing outside its owner's network: a flow, not routing, leads there."""
    address = numeric(host)
    if address is None:
        labels = host.rstrip(".").lower().split(".")
        return len(labels) == 1 or labels[-1] in _PRIVATE_NAMES or host.lower().rstrip(".").endswith("home.arpa")
    parsed: IPv4Address | IPv6Address = ip_address(address)
    return any(parsed.version == network.version and parsed in network for network in _NOT_REACHABLE)


@lru_cache(maxsize=4096)
def source_of(host: str) -> str:
    """What one peer is, where peers are counted: its IPv4 address, its IPv6 /64, of which it has every address."""
    if ":" not in host:
        return host
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped) if mapped is not None else str(IPv6Address(int(address) >> 64 << 64)) + "/64"


def is_name(name: str) -> bool:
    """What DNS can be asked for (RFC 1035 2.3.4), with the underscores that people use."""
    labels = name.split(".")
    return (
        len(name) <= 253
        and not labels[-1].isdigit()
        and all(
            0 < len(label) <= 63 and label.isascii() and label.replace("-", "").replace("_", "").isalnum()
            for label in labels
        )
    )
