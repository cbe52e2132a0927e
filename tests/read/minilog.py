"""A real log without the public face: memory store, commit engine, catalog, and blocks of any shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamhouse.catalog.catalog import Catalog, TopicInfo
from streamhouse.commits.log import CommitLog
from streamhouse.commits.proposal import PartBlocks
from streamhouse.commits.root import open_root
from streamhouse.commits.state import BlockRef
from streamhouse.config import Settings, make_settings
from streamhouse.consumer import Consumer
from streamhouse.format.block import encode_block
from streamhouse.format.columns import columns_from_lists
from streamhouse.read.reader import BlockReader
from streamhouse.records import Headers
from streamhouse.runtime import SystemRuntime
from streamhouse.store.base import StoreCapabilities
from streamhouse.store.memory import MemoryStore

Get = tuple[str, int, int | None]


class WatchedStore:
    """A memory store that notes what is read and lets a test tamper with it."""

    def __init__(self, store: MemoryStore, *, remote: bool = False) -> None:
        self._store = store
        self.gets: list[Get] = []
        self.tamper: Callable[[bytes], bytes] = lambda data: data
        self.capabilities = StoreCapabilities(remote=remote, atomic_create=True, shared=False)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        data = self._store.get(name, start, end)
        self.gets.append((name, start, end))
        return self.tamper(data)


class MiniLog:
    """A log in memory; ``watched`` is what readers read from."""

    def __init__(self, *, remote: bool = False, **settings: object) -> None:
        self.runtime = SystemRuntime()
        self.settings: Settings = make_settings(settings)
        self.store = MemoryStore(self.runtime)
        self.watched = WatchedStore(self.store, remote=remote)
        root = open_root(
            self.store, self.runtime, create=True, single_writer=False, probe=lambda _store: True
        )
        self.commits = CommitLog(self.store, self.settings, self.runtime, root.log_id)
        self.catalog = Catalog(self.commits)
        self.reader = BlockReader(self.watched, self.settings)
        self.consumers: list[Consumer] = []

    def topic(self, name: str = "orders", partitions: int = 1) -> TopicInfo:
        """A new topic."""
        return self.catalog.create_topic(name, partitions, exist_ok=False)

    def append(
        self,
        topic: TopicInfo,
        partition: int = 0,
        values: Sequence[bytes | None] = (b"value",),
        keys: Sequence[bytes | None] | None = None,
        timestamps: Sequence[int] | int = 0,
        headers: Sequence[Headers] | None = None,
    ) -> int:
        """One block, committed; its base offset."""
        block = encode_block(columns_from_lists(keys, values, timestamps, headers))
        parts = [PartBlocks(partition, 0, [block])]
        future = self.commits.append(topic.id, -1, 0, parts)
        self.commits.urge()
        return future.result(timeout=10)[0]

    def refs(self, topic: TopicInfo, partition: int = 0) -> list[BlockRef]:
        """All blocks of a partition."""
        return self.catalog.blocks(topic.id, partition, 0, 1_000_000)

    def damage(self, ref: BlockRef) -> None:
        """Flip a bit of a block in the store."""
        data = bytearray(self.store.get(ref.object_name))
        data[ref.position + ref.length // 2] ^= 1
        self.store.put(ref.object_name, [bytes(data)])

    def consumer(self, *topics: str, **options: object) -> Consumer:
        """A consumer that is closed with the log."""
        consumer = Consumer(self.catalog, self.reader, self.runtime, topics, **options)
        self.consumers.append(consumer)
        return consumer

    def close(self) -> None:
        """Stop everything."""
        for consumer in self.consumers:
            consumer.close()
        self.reader.close()
        self.commits.close(5.0)


def numbered(first: int, count: int) -> list[bytes]:
    """Values that say which they are."""
    return [b"%d" % number for number in range(first, first + count)]
