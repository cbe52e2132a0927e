"""Requests that real clients sent to a gateway: what fuzzing starts from.

They are in ``corpus.bin``: a list of frames, msgpack, LZ4. To record them anew::

    python -m tests.kafka.hostile.corpus
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import lz4.frame
import msgspec

FILE = Path(__file__).with_name("corpus.bin")
_OF_A_KIND = 8  # of one API, in one version, by one client
_FRAME_BYTES_MAX = 8_000
_HEADER = struct.Struct(">hhih")


def load() -> list[bytes]:
    """The frames, without their sizes."""
    return msgspec.msgpack.decode(lz4.frame.decompress(FILE.read_bytes()), type=list[bytes])


def kind_of(frame: bytes) -> tuple[int, int]:
    """API and version."""
    key, version, _, _ = _HEADER.unpack_from(frame)
    return key, version


class Recorder:
    """Stands between clients and a gateway, and keeps what clients say."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.target = 0

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._pump, args=(client, server, self._keep), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, bytes), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, keep: Callable[[bytes], object]) -> None:
        rest = b""
        with suppress(OSError), source, target:
            while data := source.recv(1 << 16):
                target.sendall(data)
                rest += data
                while len(rest) >= 4 and len(rest) >= (size := 4 + int.from_bytes(rest[:4], "big")):
                    keep(rest[4:size])
                    rest = rest[size:]

    def _keep(self, frame: bytes) -> None:
        self.frames.append(frame)


def chosen(frames: Sequence[bytes]) -> list[bytes]:
    """Some of each kind, and different ones."""
    seen: Counter[tuple[int, int, bytes]] = Counter()
    found: dict[bytes, None] = {}
    for frame in frames:
        kind = (*kind_of(frame), frame[8 : 8 + 20])
        without_number = frame[:4] + bytes(4) + frame[8:]
        if without_number in found or len(frame) > _FRAME_BYTES_MAX or seen[kind] >= _OF_A_KIND:
            continue
        seen[kind] += 1
        found[without_number] = None
    return list(found)


def main() -> None:
    """Record, and write the file."""
    import streamhouse
    import streamhouse.kafka
    from tests.kafka.hostile import sessions

    recorder = Recorder()
    with (
        streamhouse.Log("memory://") as log,
        streamhouse.kafka.serve(log, port=0, advertised_port=recorder.port) as gateway,
    ):
        recorder.target = gateway.port
        recorder.start()
        for session in sessions.ALL:
            before = len(recorder.frames)
            session(f"127.0.0.1:{recorder.port}")
            print(f"{session.__name__}: {len(recorder.frames) - before} requests")
        recorder.stop()
    frames = chosen(recorder.frames)
    FILE.write_bytes(lz4.frame.compress(msgspec.msgpack.encode(frames), compression_level=12))
    kinds = {kind_of(frame) for frame in frames}
    print(f"{len(frames)} frames, {len({key for key, _ in kinds})} APIs, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
