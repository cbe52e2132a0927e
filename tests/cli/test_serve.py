"""``streamctl serve``: a process of its own, and real clients."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trustme
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

import streamhouse

PROGRAM = [sys.executable, "-c", "from streamhouse.cli import main; main()", "serve", "--kafka"]
PASSWORD = "correct horse: battery staple"

Serve: TypeAlias = Callable[..., "Server"]


class Server:
    """A running ``streamctl serve``."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, "--port", "0", *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.said: dict[str, Any] = json.loads(line)

    @property
    def bootstrap(self) -> str:
        bootstrap: str = self.said["bootstrap"]
        return bootstrap

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and what was written to standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    servers = []

    def start(*arguments: str, **environment: str) -> Server:
        servers.append(Server(*arguments, **environment))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def produce(bootstrap: str, *values: str, **settings: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0, **settings})
    for value in values:
        producer.produce("orders", value)
    assert producer.flush(20) == 0


def consume(bootstrap: str, count: int, **settings: str) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "g",
            "auto.offset.reset": "earliest",
            "log_level": 0,
            **settings,
        }
    )
    consumer.subscribe(["orders"])
    values: list[bytes | None] = []
    while len(values) < count:
        values += [message.value() for message in consumer.consume(count, timeout=20)]
    consumer.close()
    return values


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_serves_until_it_is_told_to_end(
    serve: Serve, folder: Path, number: signal.Signals, code: int
) -> None:
    server = serve("--verbose")
    assert server.said == {"bootstrap": server.bootstrap, "node_id": 1, "log": str(folder)}
    assert server.bootstrap.startswith("127.0.0.1:")
    produce(server.bootstrap, "a", "b", "c")
    assert consume(server.bootstrap, 3) == [b"a", b"b", b"c"]
    ended, errors = server.end(number)
    assert ended == code
    assert "3 records came in" in errors
    assert "Traceback" not in errors
    with streamhouse.Log(folder, create=False) as log:
        assert [record.value for record in log.read("orders")] == [b"a", b"b", b"c"]


def test_what_clients_are_told_can_be_said(serve: Serve) -> None:
    server = serve(
        "--advertised-host", "localhost", "--node-id", "7", "--setting", "default_partitions=3",
        "--setting", "rack=cellar",
    )  # fmt: skip
    port = server.bootstrap.rpartition(":")[2]
    assert (server.bootstrap, server.said["node_id"]) == (f"localhost:{port}", 7)
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    admin.create_topics([NewTopic("t")])["t"].result(20)
    metadata = admin.list_topics(timeout=20)
    assert [(broker.id, broker.host, broker.port) for broker in metadata.brokers.values()] == [
        (7, "localhost", int(port))
    ]
    assert len(metadata.topics["t"].partitions) == 3


def test_two_of_them_on_one_log(serve: Serve) -> None:
    first, second = serve(), serve()
    produce(first.bootstrap, "a")
    assert consume(second.bootstrap, 1) == [b"a"]
    assert {server.said["node_id"] for server in (first, second)} == {1, 2}
    assert first.end()[0] == second.end()[0] == 143


@pytest.mark.parametrize("by", ["file", "variable"])
def test_users_and_passwords(serve: Serve, tmp_path: Path, by: str) -> None:
    lines = f"# who may\n\nann:{PASSWORD}\nbob:short\n"
    if by == "file":
        (tmp_path / "users").write_text(lines)
        (tmp_path / "users").chmod(stat.S_IRUSR)
        server = serve("--users", str(tmp_path / "users"), "--verbose")
    else:
        server = serve("--sasl", "PLAIN", STREAMHOUSE_KAFKA_USERS=lines)
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "ann"}
    produce(server.bootstrap, "a", **login, **{"sasl.password": PASSWORD})
    admin = AdminClient(
        {"bootstrap.servers": server.bootstrap, "log_level": 0, **login, "sasl.password": "short"}
    )
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=2)
    _, errors = server.end()
    assert PASSWORD not in errors
    assert "Traceback" not in errors


def test_acls_decide(serve: Serve) -> None:
    server = serve("--authorize", "--super-user", "User:ann", "--deny-without-acl",
                   STREAMHOUSE_KAFKA_USERS="ann:secret\nbob:secret")  # fmt: skip
    admins = {
        name: AdminClient(
            {
                "bootstrap.servers": server.bootstrap,
                "log_level": 0,
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": name,
                "sasl.password": "secret",
            }
        )
        for name in ("ann", "bob")
    }
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        admins["bob"].create_topics([NewTopic("t")])["t"].result(20)
    admins["ann"].create_topics([NewTopic("t")])["t"].result(20)
    assert list(admins["bob"].list_topics(timeout=20).topics) == []
    assert list(admins["ann"].list_topics(timeout=20).topics) == ["t"]


def test_tls(serve: Serve, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    for name, blob in (
        ("ca", authority.cert_pem),
        ("key", certificate.private_key_pem),
        ("chain", certificate.cert_chain_pems[0]),
        ("both", certificate.private_key_and_cert_chain_pem),
    ):
        blob.write_to_path(str(tmp_path / name))
    server = serve("--tls-certificate", str(tmp_path / "chain"), "--tls-key", str(tmp_path / "key"))
    encrypted = {"security.protocol": "SSL", "ssl.ca.location": str(tmp_path / "ca")}
    produce(server.bootstrap, "a", **encrypted)
    strict = serve("--tls-certificate", str(tmp_path / "both"), "--tls-client-ca", str(tmp_path / "ca"))
    mine = {"ssl.certificate.location": str(tmp_path / "chain"), "ssl.key.location": str(tmp_path / "key")}
    assert consume(strict.bootstrap, 1, **encrypted, **mine) == [b"a"]
    stranger = AdminClient({"bootstrap.servers": strict.bootstrap, "log_level": 0, **encrypted})
    with pytest.raises(KafkaException):
        stranger.list_topics(timeout=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--kafka"),
        (["--kafka", "--port", "70000"], "port=70000"),
        (["--kafka", "--setting", "default_partition=1"], "did you mean 'default_partitions'"),
        (["--kafka", "--setting", "default_partitions"], "NAME=VALUE"),
        (["--kafka", "--setting", 'plain_users={"u": "s3cret"}'], "--users"),
        (["--kafka", "--sasl", "SCRAM-SHA-1"], "SCRAM-SHA-256"),
        (["--kafka", "--users", "users", "--sasl", "SCRAM-SHA-256"], "set_password"),
        (["--kafka", "--users", "bad"], "bad, line 2: a user is NAME:PASSWORD"),
        (["--kafka", "--users", "empty"], "empty has no users"),
        (["--kafka", "--users", "nowhere"], "nowhere"),
        (["--kafka", "--super-user", "User:a"], "--authorize"),
        (["--kafka", "--tls-key", "users"], "--tls-certificate"),
        (["--kafka", "--tls-certificate", "users"], "cannot encrypt with users"),
        (["--kafka", "--tls-certificate", "nowhere"], "cannot encrypt with nowhere"),
        (["--kafka", "--host", "no.such.host.invalid", "--port", "0"], "no.such.host.invalid"),
    ],
)
def test_what_cannot_be_is_one_line(cli: Any, folder: Path, arguments: list[str], message: str) -> None:
    Path("users").write_text("ann:s3cret\n")
    Path("bad").write_text("ann:s3cret\nbob s3cret\n")
    Path("empty").write_text("# nobody\n")
    result = cli("serve", *arguments)
    assert (result.code, result.out) == (2, b"")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert "s3cret" not in result.err


def test_a_port_that_is_taken(cli: Any, serve: Serve) -> None:
    port = serve().bootstrap.rpartition(":")[2]
    result = cli("serve", "--kafka", "--port", port)
    assert (result.code, result.out) == (2, b"")
    assert f"127.0.0.1:{port}" in result.err


def test_a_missing_extra_is_answered_with_the_pip_line(
    cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "kio" else find(name, *a)
    )
    monkeypatch.delitem(vars(__import__("streamhouse.kafka").kafka), "serve", raising=False)
    result = cli("serve", "--kafka", "--port", "0")
    assert (result.code, result.out) == (3, b"")
    assert "pip install 'streamhouse[kafka]'" in result.err
    assert not folder.exists()
