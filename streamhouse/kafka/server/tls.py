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
    """Whose certificate it is, as RFC 4514 writes it: for Kafka the name of the user, with mutual TLS."""
    parts = [pair for group in certificate.get("subject", ()) for pair in group]
    return ",".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in reversed(parts))


def _escaped(value: str) -> str:
    text = "".join(f"\\{c}" if c in _SPECIAL else c for c in value).replace("\0", "\\00")
    if text.startswith((" ", "#")):
        text = "\\" + text
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(value) > 1 else text


_SPECIAL: Final = frozenset('"+,;<=>\\')
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
