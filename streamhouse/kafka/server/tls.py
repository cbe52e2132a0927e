"""TLS: agreeing upon it, and whom certificates are about."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from typing import Any, Final

_HANDSHAKE_SECONDS_MAX: Final = 10.0
_log: Final = logging.getLogger("streamhouse.kafka")


async def handshake(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
) -> asyncio.Transport | None:
    """Agree with a client upon TLS; the transport to use from then on, or ``None``.

    A listener of asyncio could do that, but tells nobody of clients that are at it: they would not count, and
    nothing would end them when the gateway ends.
    """
    try:
        return await loop.start_tls(
            transport, protocol, context, server_side=True, ssl_handshake_timeout=_HANDSHAKE_SECONDS_MAX
        )
    except OSError as error:
        _log.info("no TLS with %s: %s", transport.get_extra_info("peername"), error)
        return None


def distinguished_name(certificate: Mapping[str, Any]) -> str:
    """Whose certificate it is: for Kafka the name of the user, with mutual TLS.

    As Java writes it (``X500Principal.getName``), to the letter, so that ACLs that were made for Kafka hold:
    RFC 2253, with ``#`` and ``=`` escaped wherever they are.
    """
    groups = reversed(certificate.get("subject", ()))
    return ",".join(
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in group) for group in groups
    )


def _escaped(value: str) -> str:
    inner = value.strip(_SPACE)
    begin = value.find(inner) if inner else len(value)
    return "".join(
        _escaped_character(char, outer=not begin <= place < begin + len(inner))
        for place, char in enumerate(value)
    )


def _escaped_character(char: str, *, outer: bool) -> str:
    if char == "\0":
        return "\\00"
    return f"\\{char}" if outer or char in _SPECIAL else char


_SPACE: Final = " \r"
_SPECIAL: Final = frozenset(',=+<>#;"\\')
_SHORT: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
