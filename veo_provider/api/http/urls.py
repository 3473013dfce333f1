"""URLs, unchanged: a signature may be valid for the exact path only, and the key for one host only."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

_SCHEMES = ("http", "https")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_INVALID = re.compile(r"[^!#-;=?-~]")
"""What a request line must not contain and browsers quote: spaces, quotation marks, ``<``, ``>``, and
everything that is not ASCII (URL Standard, 1.3)."""
_AUTHORITY = re.compile(r"[!-~\u00a1-\U0010ffff]+")
_USERINFO = re.compile(r"//[^/@\s]*@")


def without_credentials(text: str) -> str:
    """Return a text without the user and password that its URLs contain, such as those of a proxy."""
    return _USERINFO.sub("//***@", text)


def exact_target(url: str) -> str:
    """Return the path and query of a URL unchanged, except that invalid characters are quoted.

    HTTP libraries turn ``%7E`` into ``~`` and ``%2f`` into ``%2F``, for which the signature is not valid.
    """
    rest = url.partition("://")[2].partition("#")[0]
    target = rest[_authority_length(rest) :]
    if not target.startswith("/"):
        target = "/" + target
    return _INVALID.sub(_quoted, target)


def resolve_link(requested_url: str, location: str) -> str | None:
    """Return the URL of a link, or None if a download must not follow it.

    :param requested_url: the link may be relative to it.
    """
    location = location.strip()
    try:
        base, link = urlsplit(requested_url), urlsplit(location)
        if link.scheme and link.netloc:
            url = location
        elif location.startswith("//"):
            url = f"{base.scheme}:{location}"
        elif location.startswith("/"):
            url = f"{base.scheme}://{base.netloc}{location}"
        else:
            url = urljoin(requested_url, location)
        found = urlsplit(url)
        # Parsers disagree on where a host with a backslash ends.
        unambiguous = _AUTHORITY.fullmatch(found.netloc) and "\\" not in found.netloc
        valid = found.scheme in _SCHEMES and found.hostname and found.port != 0 and unambiguous
    except ValueError:
        return None
    return url if valid else None


def same_host(url: str, own: str) -> bool:
    """Whether a URL is on one's own host, however it is written, or on the same host with TLS.

    The key is sent to this host only. ``requests``, too, allows the upgrade to TLS: the key has already been
    sent without it.
    """
    try:
        there, here = _origin(url), _origin(own)
    except ValueError:
        return False
    upgraded = here[0] == "http" and there == ("https", here[1], 443) and here[2] == _DEFAULT_PORTS["http"]
    return there == here or upgraded


def _origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port that ``requests`` would connect to, by its own parser."""
    from urllib3.util import parse_url

    parts = parse_url(url)
    scheme = parts.scheme or ""
    return scheme, parts.host or "", parts.port or _DEFAULT_PORTS.get(scheme)


def _authority_length(rest: str) -> int:
    ends = [index for index in map(rest.find, "/?") if index >= 0]
    return min(ends, default=len(rest))


def _quoted(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))
