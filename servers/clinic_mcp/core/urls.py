"""Which addresses secrets and keys may come from and go to: https, or this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def secure(url: str) -> str:
    """A URL, unchanged, that is https, or http on loopback; without user, fragment or surroundings.

    Unchanged, because issuers and resources are compared character by character (RFC 8414, section 3.3; RFC 9728,
    section 3.3): nothing here may add a slash or lower a letter.

    Args:
        url: What somebody configured.

    Raises:
        ValueError: It is not such a URL; the message says why.
    """
    if not url.isascii() or not url.isprintable() or any(mark in url for mark in ' "\\<>'):
        raise ValueError("a URL holds printable ASCII characters only")
    parts = urlsplit(url)
    host, _port = parts.hostname, parts.port  # reading the port checks it
    if not host:
        raise ValueError("a URL with a host is needed")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("it must be https, or http on loopback")
    if "@" in parts.netloc or "#" in url:
        raise ValueError("it may hold neither a user nor a fragment")
    return url
