"""URLs as they were given: a signature may hold for the exact path, and a key for one host alone."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

_SCHEMES = ("http", "https")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNFIT = re.compile(r"[^!#-;=?-~]")
"""What no request line may hold, and what browsers quote, too: spaces, quotation marks, ``<``, ``>``, and all
that is not ASCII (URL Standard, 1.3)."""
_AUTHORITY = re.compile(r"[!-~\u00a1-\U0010ffff]+")


def exact_target(url: str) -> str:
    """Return the path and query of a URL, character for character; only what no request may hold is quoted.

    HTTP libraries turn ``%7E`` into ``~`` and ``%2f`` into ``%2F``, which another signature belongs to.
    """
    rest = url.partition("://")[2].partition("#")[0]
    target = rest[_authority_length(rest) :]
    if not target.startswith("/"):
        target = "/" + target
    return _UNFIT.sub(_quoted, target)


def linked(asked: str, location: str) -> str | None:
    """Return the URL of a link, or None if it is none that a download may follow.

    :param asked: the URL that was asked for, which the link may be relative to.
    """
    location = location.strip()
    try:
        base, link = urlsplit(asked), urlsplit(location)
        if link.scheme and link.netloc:
            url = location
        elif location.startswith("//"):
            url = f"{base.scheme}:{location}"
        elif location.startswith("/"):
            url = f"{base.scheme}://{base.netloc}{location}"
        else:
            url = urljoin(asked, location)
        found = urlsplit(url)
        # Parsers disagree on where a host ends that holds a backslash.
        known = _AUTHORITY.fullmatch(found.netloc) and "\\" not in found.netloc
        fit = found.scheme in _SCHEMES and found.hostname and found.port != 0 and known
    except ValueError:
        return None
    return url if fit else None


def same_host(url: str, own: str) -> bool:
    """Whether a URL leads to one's own host, however that is written, or to the same with TLS.

    The key goes there alone. ``requests`` lets it follow to TLS, too: it has been sent without before.
    """
    try:
        there, here = _origin(url), _origin(own)
    except ValueError:
        return False
    upgraded = here[0] == "http" and there == ("https", here[1], 443) and here[2] == _DEFAULT_PORTS["http"]
    return there == here or upgraded


def _origin(url: str) -> tuple[str, str, int | None]:
    """Return what ``requests`` would connect to, by its own parser."""
    from urllib3.util import parse_url

    parts = parse_url(url)
    scheme = parts.scheme or ""
    return scheme, parts.host or "", parts.port or _DEFAULT_PORTS.get(scheme)


def _authority_length(rest: str) -> int:
    ends = [index for index in map(rest.find, "/?") if index >= 0]
    return min(ends, default=len(rest))


def _quoted(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))
