"""A log, served to Kafka's clients: any Kafka client, unchanged, and no broker but this process.

::

    import streamhouse, streamhouse.kafka

    with streamhouse.Log("./data") as log, streamhouse.kafka.serve(log, port=9092) as gateway:
        gateway.wait()

Records that Kafka's clients write and those of the native API are the same records. Needs the extra
``kafka``.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

from streamhouse.errors import MissingExtraError

if TYPE_CHECKING:
    from streamhouse.kafka.accounts import remove_user, set_password, users
    from streamhouse.kafka.gateway import Gateway, serve
    from streamhouse.kafka.settings import GatewaySettings

__all__ = ["Gateway", "GatewaySettings", "remove_user", "serve", "set_password", "users"]

_MODULES: Final = {
    "Gateway": "streamhouse.kafka.gateway",
    "GatewaySettings": "streamhouse.kafka.settings",
    "remove_user": "streamhouse.kafka.accounts",
    "serve": "streamhouse.kafka.gateway",
    "set_password": "streamhouse.kafka.accounts",
    "users": "streamhouse.kafka.accounts",
}
_NEEDED: Final = ("kio", "numpy", "google_crc32c", "cramjam", "re2")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'streamhouse.kafka' has no attribute {name!r}")
    for library in _NEEDED:
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError(
                f"the Kafka gateway needs {library}; run: pip install 'streamhouse[kafka]'", name=library
            )
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
