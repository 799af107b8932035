"""Where connectors may connect to: public unicast addresses, plus the networks that the operator allows.

The check runs when a socket is made, on the address that is about to be connected: after every name resolution and for
literal addresses alike, so neither a rebinding name nor an odd spelling of 127.0.0.1 gets past it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from tidegate.kernel.errors import ConfigurationError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_NEVER = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host, this network
        "100.64.0.0/10",  # shared by carriers
        "168.63.129.16/32",  # Azure's host: public to look at, a metadata service
        "169.254.0.0/16",  # link local, metadata services
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4, retired
        "198.18.0.0/15",  # benchmarks
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",  # local use of NAT64
        "100::/64",  # discard
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4, retired
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local
        "fe80::/10",  # link local
        "fec0::/10",  # site local, retired
        "ff00::/8",  # multicast
    )
)
"""Refused even where the standard library would call them global. Source: IANA special-purpose address registries."""

_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


class EgressBlockedError(OSError):
    """The address is neither public nor allowed by the operator. An OSError, because it is raised inside a connect."""

    def __init__(self, address: str) -> None:
        """Name the refused address."""
        super().__init__(errno.EACCES, f"egress to {address} is blocked")
        self.address = address


def is_allowed(address: Address, allow: Sequence[Network]) -> bool:
    """Say whether an address may be connected to.

    An IPv6 address that only stands for an IPv4 one (v4-mapped, v4-compatible, NAT64) is judged as that one.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        inner = _inner_ipv4(address)
        if inner is not None:
            return is_allowed(inner, allow)
    if any(address.version == network.version and address in network for network in allow):
        return True
    if any(address.version == network.version and address in network for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, None when it is a real one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def guarded_socket_factory(
    allow: Sequence[Network], on_blocked: Callable[[str], None]
) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Return a factory for aiohttp's TCPConnector that refuses forbidden peers before a socket exists.

    `on_blocked` hears of each refusal: when several addresses fail, the connect error no longer tells which class it was.
    The factory raises EgressBlockedError.
    """

    def make_socket(address_info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, peer = address_info
        host = str(peer[0])
        try:
            allowed = family in (socket.AF_INET, socket.AF_INET6) and is_allowed(ip_address(host), allow)
        except ValueError:
            allowed = False
        if not allowed:
            on_blocked(host)
            raise EgressBlockedError(host)
        return socket.socket(family=family, type=kind, proto=protocol)

    return make_socket


def check_host(base_url: str, hosts: Sequence[str]) -> None:
    """Raise ConfigurationError (code base_url) unless the host is one of `hosts`, `*.` standing for exactly one label."""
    try:
        host = (urlsplit(base_url).hostname or "").lower()
    except ValueError:
        host = ""
    label, _, rest = host.partition(".")
    usable = bool(label) and label.replace("-", "").isalnum() and label.isascii()
    if hosts and host not in hosts and not (usable and f"*.{rest}" in hosts):
        raise ConfigurationError(
            f"{host or 'the address'} is no host of this platform",
            code="base_url",
            hint=f"it must be {' or '.join(hosts)}; for a test write another address as `url`",
        )


def check_base_url(base_url: str) -> str:
    """Return the base URL without a slash at its end.

    Raises ConfigurationError (code base_url) unless it is http or https with a host and without user, query or fragment.
    """
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    forbidden = any(ord(letter) <= 32 or ord(letter) == 127 or letter == "\\" for letter in base_url)
    if not usable or forbidden or parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "the base URL is not usable",
            code="base_url",
            hint="write it as https://host or http://host:port, without user name, query or fragment",
        )
    return base_url.rstrip("/")
