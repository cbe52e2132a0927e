from pathlib import Path

import pytest

from streamhouse.testing.ministack import ministack_server

pytest.importorskip("ministack")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_it_listens_on_loopback_and_leaves_no_process() -> None:
    with ministack_server() as server:
        process = Path(f"/proc/{server.process_id}")
        port = int(server.endpoint_url.rpartition(":")[2])
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
        listening = {row.split()[1] for row in rows if row.split()[3] == "0A"}
        assert {place for place in listening if place.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}
        assert process.exists()
    assert not process.exists()


def test_it_stops_after_an_error() -> None:
    with pytest.raises(KeyError), ministack_server() as server:  # noqa: PT012
        process = Path(f"/proc/{server.process_id}")
        raise KeyError
    assert not process.exists()
