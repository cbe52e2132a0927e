"""``streamctl serve``: a log for clients of other systems, until somebody ends it.

Passwords are never taken from the command line, where every user of the machine could read them.
"""

from __future__ import annotations

import logging
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streamhouse.cli.options import Json, LogUrl, StorageOptions, open_log, parse_pair
from streamhouse.cli.output import flush, print_json, print_text, wants_json
from streamhouse.errors import InvalidSettingError

_USERS_VARIABLE: Final = "STREAMHOUSE_KAFKA_USERS"
_SECRETS: Final = frozenset(("plain_users",))
_PLAIN: Final = "PLAIN"
_log: Final = logging.getLogger("streamhouse.cli")


def serve(
    log: LogUrl,
    kafka: Annotated[bool, typer.Option("--kafka", help="To Kafka's clients.")] = False,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0: all there are.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen at; 0: any that is free.")] = 9092,
    advertised_host: Annotated[
        str | None, typer.Option("--advertised-host", help="What clients are told to connect to.")
    ] = None,
    advertised_port: Annotated[
        int | None, typer.Option("--advertised-port", help="Likewise, if another port leads here.")
    ] = None,
    node_id: Annotated[
        int | None, typer.Option("--node-id", help="Number among the gateways of the log.")
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option("--tls-certificate", metavar="FILE", help="Encrypt with this certificate (PEM)."),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", help="Its key, if that is in another file."),
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            "--tls-client-ca", metavar="FILE", help="Only clients with a certificate of these authorities."
        ),
    ] = None,
    sasl: Annotated[
        list[str] | None,
        typer.Option(
            "--sasl",
            metavar="MECHANISM",
            help="How clients have to say who they are: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512. Repeatable.",
        ),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            "--users",
            metavar="FILE",
            help=f"Users for PLAIN, a line NAME:PASSWORD for each; {_USERS_VARIABLE} may hold them instead.",
        ),
    ] = None,
    authorize: Annotated[bool, typer.Option("--authorize", help="ACLs say who may do what.")] = False,
    super_user: Annotated[
        list[str] | None,
        typer.Option("--super-user", metavar="User:NAME", help="May do everything. Repeatable."),
    ] = None,
    deny_without_acl: Annotated[
        bool, typer.Option("--deny-without-acl", help="What no ACL speaks of is refused.")
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--setting",
            metavar="NAME=VALUE",
            help="Any other setting of a gateway, such as default_partitions=3. Repeatable.",
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more about what happens, on standard error.")
    ] = False,
    storage_option: StorageOptions = None,
    json: Json = False,
) -> None:
    """Serve a log to clients of another system, until Ctrl-C or SIGTERM; the log is made if there is none.

    Prints a line once it serves. What goes wrong is told on standard error.
    """
    if not kafka:
        raise typer.BadParameter("say to whose clients: --kafka")
    settings = {
        "host": host,
        "advertised_host": advertised_host,
        "advertised_port": advertised_port,
        "node_id": node_id,
        **_security(sasl, _read_users(users), authorize, super_user, deny_without_acl),
        **dict(map(_parse_setting, setting or ())),
    }
    tls = _tls(tls_certificate, tls_key, tls_client_ca)
    import streamhouse.kafka

    start = streamhouse.kafka.serve  # says what is missing before a log is made
    with (
        _logging(verbose=verbose),
        open_log(log, storage_option, create=True) as handle,
        start(
            handle,
            port=port,
            tls=tls,
            **{name: value for name, value in settings.items() if value is not None},
        ) as gateway,
    ):
        if wants_json(json):
            print_json({"bootstrap": gateway.bootstrap, "node_id": gateway.node_id, "log": handle.url})
        else:
            print_text(
                f"serving {handle.url} at {gateway.bootstrap} as node {gateway.node_id}; Ctrl-C ends it"
            )
        flush()
        try:
            gateway.wait()
        finally:
            _tell_end(gateway)


def _tell_end(gateway: Any) -> None:
    requests = sum(api.requests for api in gateway.metrics.apis.values())
    _log.info(
        "gateway at %s ends: %d requests, %d records came in, %d bytes went out",
        gateway.bootstrap,
        requests,
        gateway.metrics.records_in,
        gateway.metrics.bytes_out,
    )


@contextmanager
def _logging(*, verbose: bool) -> Iterator[None]:
    """Tell what happens on standard error."""
    logger, handler = logging.getLogger("streamhouse"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def _security(
    sasl: list[str] | None,
    users: dict[str, str],
    authorize: bool,
    super_users: list[str] | None,
    deny_without_acl: bool,
) -> dict[str, Any]:
    mechanisms = sasl or ([_PLAIN] if users else [])
    if users and _PLAIN not in mechanisms:
        raise typer.BadParameter(
            "--users are for the mechanism PLAIN; those of SCRAM are in the log: AdminClients make them, or"
            " streamhouse.kafka.set_password"
        )
    if (super_users or deny_without_acl) and not authorize:
        raise typer.BadParameter("--super-user and --deny-without-acl need --authorize")
    return {
        "sasl_mechanisms": mechanisms,
        "plain_users": users,
        "authorize": authorize,
        "super_users": super_users,
        "allow_everyone_without_acl": not deny_without_acl,
    }


def _read_users(file: Path | None) -> dict[str, str]:
    """Passwords by user, of a file or of the environment. They are in no message."""
    if file is not None:
        lines, where = file.read_text("utf-8").splitlines(), str(file)
    else:
        lines, where = os.environ.get(_USERS_VARIABLE, "").splitlines(), _USERS_VARIABLE
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not (name and colon and password):
            raise InvalidSettingError(f"{where}, line {number}: a user is NAME:PASSWORD")
        found[name] = password
    if file is not None and not found:
        raise InvalidSettingError(f"{where} has no users: a line NAME:PASSWORD for each")
    return found


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None or client_ca is not None:
            raise typer.BadParameter("--tls-key and --tls-client-ca need --tls-certificate")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    what = certificate
    try:
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            what = client_ca
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # an SSLError is one
        named = "" if key is None or what is client_ca else f" with {key}"
        raise InvalidSettingError(f"cannot encrypt with {what}{named}: {error}") from None
    return context


def _parse_setting(pair: str) -> tuple[str, Any]:
    name, value = parse_pair(pair, f"--setting takes NAME=VALUE, not {pair!r}")
    if name in _SECRETS:
        raise typer.BadParameter(f"{name} is no --setting: others could read it; there is --users")
    return name, value
