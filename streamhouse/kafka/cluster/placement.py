"""Which gateway leads a partition, and which coordinates a group: the same answer from all of them.

Any gateway can serve anything, for everything lies in the log. So this only spreads the work, and keeps those
together who have to meet. Highest random weight hashing moves as little as can be when a gateway comes or
goes (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

_WEIGHT_BYTES = 8


def chosen(name: str, nodes: Sequence[int]) -> int:
    """The node that has the highest weight for a name.

    Args:
        name: What is to be placed.
        nodes: At least one.
    """
    if len(nodes) == 1:
        return nodes[0]
    return max(nodes, key=lambda node: (_weight(name, node), node))


def of_partition(topic: int, partition: int) -> str:
    """The name of a partition."""
    return f"partition:{topic}:{partition}"


def of_group(group: str) -> str:
    """The name of a group."""
    return f"group:{group}"


def of_transactional_id(transactional_id: str) -> str:
    """The name of a producer."""
    return f"producer:{transactional_id}"


def _weight(name: str, node: int) -> bytes:
    return blake2b(name.encode(), digest_size=_WEIGHT_BYTES, key=node.to_bytes(8, "big")).digest()
