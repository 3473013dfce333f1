"""Where a link may lead: a gateway on the internet must not reach into the network of the worker."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from urllib3.util import parse_url

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    Addresses = set[IPv4Address | IPv6Address]


def leads_inside(url: str, own: str) -> bool:
    """Whether a link of a gateway leads to an address that only the worker's own network reaches.

    Link-local addresses, where clouds serve the credentials of a machine, always count. Loopback and private
    ones do not count if the gateway itself has such an address. A name is resolved first; one that is
    not known here counts as outside: a proxy may know it.

    :param url: the link.
    :param own: the gateway's base URL.
    """
    addresses = _addresses(url)
    if any(address.is_link_local for address in addresses):
        return True
    return _has_inner(addresses) and not _has_inner(_addresses(own))


def _has_inner(addresses: Addresses) -> bool:
    return any(not address.is_global or address.is_multicast for address in addresses)


def _addresses(url: str) -> Addresses:
    """Return the addresses of a URL's host, IPv4 ones that are written as IPv6 among them as IPv4."""
    host = (parse_url(url).host or "").strip("[]")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    addresses = {ip_address(str(entry[4][0]).partition("%")[0]) for entry in found}
    return {getattr(address, "ipv4_mapped", None) or address for address in addresses}
