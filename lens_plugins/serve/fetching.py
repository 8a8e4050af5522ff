"""Files behind web addresses, where the server was told to fetch: allowed domains, public addresses, no redirects."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from time import monotonic
from urllib.parse import unquote, urlsplit

from .fields import Link
from .refusals import BadRequest, TooLarge
from .uploads import Upload

__all__ = ["fetch", "public_addresses"]

_SECONDS, _BLOCK = 20.0, 65536


def fetch(
    link: Link,
    domains: Sequence[str],
    most: int,
    resolve: Callable[[str, int], list[str]] | None = None,
    seconds: float = _SECONDS,
) -> Upload:
    """Fetch a file.

    The name is resolved once and the connection goes to the address that was checked, so a name that changes its
    address between the two leads nowhere else.

    Args:
        link: an http or https address.
        domains: that are allowed, each as a whole.
        most: bytes that are read.
        resolve: takes a name and a port; the addresses to try. None: `public_addresses`.
        seconds: for the whole of it.

    Raises:
        BadRequest: another domain or port, an address that is not public, a redirect, or no answer.
        TooLarge: more than `most` bytes.
    """
    if not domains:
        raise BadRequest("This server fetches no web addresses; send the file itself as a data URI.")
    try:
        parts = urlsplit(link)
        port = parts.port
    except ValueError as error:
        raise BadRequest(f"{link[:200]} is no web address ({error}).") from error
    host, secure = (parts.hostname or "").rstrip("."), parts.scheme.lower() == "https"
    if host not in {domain.lower() for domain in domains} or parts.username is not None:
        raise BadRequest(f"{host or link[:200]} is not among the domains that this server fetches from.")
    if port not in (None, 443 if secure else 80):
        raise BadRequest(f"{host} is asked at port {port}; files are fetched at the usual one alone.")
    port = 443 if secure else 80
    until = monotonic() + seconds
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or any(ord(letter) <= 32 for letter in target):
        raise BadRequest(f"The path of {host} has letters that an address may not have; percent-encode them.")
    addresses = (resolve or public_addresses)(host, port)
    try:
        content = _get(host, addresses[0], port, target, secure=secure, most=most, until=until)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BadRequest(f"{host} did not send the file ({type(error).__name__}: {error}).") from error
    return Upload(content, link.name or unquote(PurePosixPath(parts.path).name), link.modality)


def public_addresses(host: str, port: int) -> list[str]:
    """The addresses of a name, if every one of them is public.

    Raises:
        BadRequest: there is none, or one is private, loopback, link-local, multicast or reserved.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BadRequest(f"{host} has no address ({error}).") from error
    addresses = [str(one[4][0]) for one in found]
    for address in addresses:
        if not _is_public(address):
            raise BadRequest(f"{host} has the address {address}, which is not public; it is not fetched from.")
    return addresses


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    teredo = getattr(ip, "teredo", None)
    if inner is not None:
        return _is_public(str(inner))
    if ip.version == 6 and ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64: an IPv4 address in its last bytes
        return _is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return teredo is None and ip.is_global and not ip.is_multicast


def _get(host: str, address: str, port: int, target: str, *, secure: bool, most: int, until: float) -> bytes:
    plain = socket.create_connection((address, port), timeout=max(0.1, until - monotonic()))
    with plain:
        line = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        with line:
            request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
            line.sendall(f"{request}Connection: close\r\nUser-Agent: lens-plugins\r\n\r\n".encode("ascii"))
            answer = http.client.HTTPResponse(line, method="GET")
            answer.begin()
            if answer.status != 200:
                what = "a redirect, which is not followed" if 300 <= answer.status < 400 else "no file"
                raise BadRequest(f"{host} answered {answer.status}, {what}.")
            if (answer.length or 0) > most:
                raise TooLarge(f"The file of {host} has {answer.length} bytes; at most {most} are fetched.")
            return _all_of(answer, line, host, most, until)


def _all_of(answer: http.client.HTTPResponse, line: socket.socket, host: str, most: int, until: float) -> bytes:
    """The whole content, block by block, so that neither size nor time is exceeded by much."""
    content = bytearray()
    while block := answer.read1(_BLOCK):
        content += block
        if len(content) > most:
            raise TooLarge(f"The file of {host} has more than {most} bytes, which are not fetched.")
        if monotonic() > until:
            raise TimeoutError("it takes too long")
        line.settimeout(max(0.1, until - monotonic()))
    return bytes(content)
