"""As much HTTP as an S3 client speaks: requests in, answers out, connections kept alive."""

from __future__ import annotations

import asyncio
import urllib.parse
from http import HTTPStatus
from xml.sax.saxutils import escape

import msgspec

_HEAD_BYTES_MAX = 64 * 1024


class Request(msgspec.Struct):
    """One request.

    Attributes:
        method: In capitals.
        bucket: First part of the path.
        key: The rest of the path, decoded.
        query: Parameters, decoded.
        headers: Names in small letters.
        body: All of it.
    """

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct):
    """One answer.

    Attributes:
        status: HTTP status.
        body: Bytes to send.
        headers: Besides the length.
        length: What ``Content-Length`` says, when that is not the length of the body.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}
    length: int | None = None


def refusal(status: int, code: str, message: str = "", extra: str = "") -> Answer:
    """An S3 error document."""
    text = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>{extra}</Error>"
    return document(text, status)


def document(xml: str, status: int = 200) -> Answer:
    """An XML answer."""
    body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + xml.encode()
    return Answer(status, body, {"Content-Type": "application/xml"})


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request of a connection; ``None`` when there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _body(reader, headers)
    path, _, query = target.partition("?")
    bucket, _, key = path[1:].partition("/")
    parameters = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    return Request(method, bucket, urllib.parse.unquote(key), parameters, headers, body)


async def send(writer: asyncio.StreamWriter, method: str, answer: Answer) -> None:
    """Write an answer to a request of that method."""
    length = len(answer.body) if answer.length is None else answer.length
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    if answer.status != 204:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    writer.write(head if method == "HEAD" else head + answer.body)
    await writer.drain()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    if "aws-chunked" in headers.get("content-encoding", ""):
        inner = asyncio.StreamReader()
        inner.feed_data(body)
        inner.feed_eof()
        body = await _chunks(inner)
    return body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """Both HTTP's and AWS's chunks: a length in hex, perhaps with a signature, then the bytes."""
    pieces = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():  # trailers
        pass
    return b"".join(pieces)
