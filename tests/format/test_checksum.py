"""The same checksums, whichever library computes them."""

from __future__ import annotations

import subprocess
import sys
import zlib

from hypothesis import given
from hypothesis import strategies as st

from streamhouse.format.checksum import crc32

WITHOUT = """
import sys
sys.modules["isal"] = sys.modules["isal.isal_zlib"] = None  # as if it were not installed
import zlib
import streamhouse
from streamhouse.format import checksum
assert checksum.crc32 is zlib.crc32
with streamhouse.Log(sys.argv[1]) as log:
    print([record.value for record in log.read("orders")])
"""


@given(st.binary(max_size=5000), st.integers(0, 2**32 - 1))
def test_it_is_that_of_zlib(data: bytes, begun: int) -> None:
    assert crc32(data) == zlib.crc32(data)
    assert crc32(data, begun) == zlib.crc32(data, begun)
    assert crc32(memoryview(data)[3:]) == zlib.crc32(data[3:])
    assert crc32(bytearray(data)) == zlib.crc32(data)


def test_logs_are_the_same_with_and_without_the_extra(tmp_path) -> None:
    import streamhouse

    with streamhouse.Log(tmp_path / "log") as log:
        log.create_topic("orders")
        with log.producer() as producer:
            producer.send_many("orders", ["a", "b" * 100_000]).result()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("[b'a', b'bbb")
