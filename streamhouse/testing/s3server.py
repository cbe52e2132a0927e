"""An S3 server in memory, with faults on demand, to see what a client does about them.

It speaks as much of S3 as a log needs, over real sockets, so that the whole client is in the test:
s3fs, botocore, aiohttp and their hidden retries. Requests are carried out one after the other by
one thread, so creation is atomic; ``ignore_conditions=True`` makes it one of those servers that
answer 200 to everything.

>>> from streamhouse.config import Settings
>>> from streamhouse.runtime import SystemRuntime
>>> from streamhouse.store.open import open_store
>>> with FakeS3Server() as server:
...     store = open_store(server.url, server.storage_options, Settings(), SystemRuntime())
...     server.fault("PUT", "lost-answer")
...     outcome = store.put_if_absent("log/1", [b"x"])
...     data = store.get("log/1")
...     store.close()
>>> data
b'x'
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import html
import re
import threading
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from xml.sax.saxutils import escape

from streamhouse.runtime import Runtime, SystemRuntime
from streamhouse.testing.s3faults import S3Fault, S3FaultKind, S3FaultScript, S3Operation, spoil
from streamhouse.testing.s3http import Answer, Request, document, read_request, refusal, send
from streamhouse.testing.s3uploads import StoredObject, Uploads, etag_of

_ACCESS_KEY = "streamhouse-test-key"
_SECRET_KEY = "streamhouse-test-secret"  # noqa: S105 - opens nothing but this server
_KEYS_PER_PAGE_MAX = 1000
_STOP_SECONDS = 5.0


class FakeS3Server:
    """Listens on a free port of 127.0.0.1 while used as a context manager.

    Args:
        buckets: Buckets that exist from the start.
        ignore_conditions: Ignore ``If-None-Match``, as several servers do.
        plain_conflicts: Leave ``<Condition>`` out of a 412, as several servers do.
        keys_per_page_max: Names in one page of a listing.
        seed: For the dice of faults.
        runtime: The server's clock.

    Attributes:
        buckets: The objects, by bucket and key.
        requests: Requests so far, by operation.
        latency_seconds: Delay by operation, changeable at any time.
        denied: Answer 403 to everything.
    """

    def __init__(
        self,
        *,
        buckets: tuple[str, ...] = ("streamhouse",),
        ignore_conditions: bool = False,
        plain_conflicts: bool = False,
        keys_per_page_max: int = _KEYS_PER_PAGE_MAX,
        seed: int = 0,
        runtime: Runtime | None = None,
    ) -> None:
        self.buckets: dict[str, dict[str, StoredObject]] = {name: {} for name in buckets}
        self.requests: Counter[str] = Counter()
        self.latency_seconds: Mapping[str, float] = {}
        self.denied = False
        self._ignore_conditions = ignore_conditions
        self._plain_conflicts = plain_conflicts
        self._keys_per_page_max = keys_per_page_max
        self._runtime = runtime or SystemRuntime()
        self._uploads = Uploads()
        self._script = S3FaultScript(seed)
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def endpoint_url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """A place for a log in the first bucket."""
        return f"s3://{next(iter(self.buckets))}/log"

    @property
    def storage_options(self) -> dict[str, Any]:
        """Endpoint and credentials, as s3fs takes them."""
        return {
            "endpoint_url": self.endpoint_url,
            "key": _ACCESS_KEY,
            "secret": _SECRET_KEY,
            "client_kwargs": {"region_name": "us-east-1"},
        }

    @property
    def unfinished_uploads(self) -> int:
        """Uploads in parts that were neither completed nor given up."""
        return len(self._uploads)

    @property
    def injected(self) -> Counter[str]:
        """How often each kind of fault struck."""
        return self._script.injected

    def fault(
        self,
        operation: S3Operation,
        kind: S3FaultKind,
        *,
        match: str = "",
        times: int | None = 1,
        skip: int = 0,
        probability: float = 1.0,
        status: int = 503,
        code: str = "SlowDown",
        seconds: float = 0.0,
    ) -> None:
        """Add a fault; see :class:`~streamhouse.testing.s3faults.S3Fault`."""
        self._script.add(S3Fault(operation, kind, match, times, skip, probability, status, code, seconds))

    def clear_faults(self) -> None:
        """Behave again."""
        self._script.clear()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve, name="fake-s3", daemon=True)
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connected, "127.0.0.1", 0), self._loop
        )
        self._server = listening.result(_STOP_SECONDS)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
        try:
            while (request := await read_request(reader, writer)) is not None:
                answer = await self._answer(request)
                if answer is None:
                    writer.transport.abort()
                    return
                await send(writer, request.method, answer)
                if answer.length is not None:  # it announced more than it sent
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            if task is not None:
                self._connections.discard(task)
            writer.close()

    async def _answer(self, request: Request) -> Answer | None:
        """The answer to a request, or ``None`` to close the connection without one."""
        operation = _operation(request)
        self.requests[operation] += 1
        if pause := self.latency_seconds.get(operation, 0.0):
            await asyncio.sleep(pause)
        if self.denied:
            return refusal(403, "AccessDenied", "Access Denied")
        if f"Credential={_ACCESS_KEY}/" not in request.headers.get("authorization", ""):
            return refusal(403, "InvalidAccessKeyId", "The key does not exist in our records.")
        fault = self._script.strike(operation, request.key or request.query.get("prefix", ""))
        if fault is None:
            return self._carry_out(request)
        return await self._misbehave(request, fault)

    async def _misbehave(self, request: Request, fault: S3Fault) -> Answer | None:
        match fault.kind:
            case "refuse":
                return refusal(fault.status, fault.code, "as scripted")
            case "reset":
                return None
            case "hang":
                await asyncio.sleep(fault.seconds)
                return None
            case "late":
                self._loop.call_later(fault.seconds, self._carry_out, request)
                return None
            case "delay":
                await asyncio.sleep(fault.seconds)
                return self._carry_out(request)
            case "whole":
                request.headers.pop("range", None)
                return self._carry_out(request)
            case "stale":
                objects = self.buckets[request.bucket]
                newest = max(objects, key=lambda key: objects[key].modified_ms, default="")
                return self._list(request, {k: v for k, v in objects.items() if k != newest})
        answer = self._carry_out(request)
        match fault.kind:
            case "lost-answer":
                return None
            case "fail-after":
                return refusal(fault.status, fault.code, "as scripted")
            case "twice":
                return self._carry_out(request)
        spoil(answer, fault, self._script.dice)
        return answer

    def _carry_out(self, request: Request) -> Answer:
        objects = self.buckets.get(request.bucket)
        if objects is None:
            if request.method == "PUT" and not request.key:
                self.buckets[request.bucket] = {}
                return Answer(200)
            return refusal(404, "NoSuchBucket", "The specified bucket does not exist")
        if request.query.keys() & {"uploads", "uploadId"}:
            return self._uploads.carry_out(request, objects, self._runtime.time_ms())
        match request.method, bool(request.key):
            case "PUT", True:
                return self._put(request, objects)
            case "GET" | "HEAD", True:
                return _get(request, objects)
            case "DELETE", True:
                objects.pop(request.key, None)
                return Answer(204)
            case "POST", False if "delete" in request.query:
                for key in re.findall(r"<Key>(.*?)</Key>", request.body.decode(), re.DOTALL):
                    objects.pop(html.unescape(key), None)
                return document("<DeleteResult></DeleteResult>")
            case "GET", False if request.query.get("list-type") == "2":
                return self._list(request, objects)
            case "HEAD" | "PUT", False:
                return Answer(200)
        return refusal(501, "NotImplemented", f"{request.method} {request.query}")

    def _put(self, request: Request, objects: dict[str, StoredObject]) -> Answer:
        conditional = request.headers.get("if-none-match") == "*" and not self._ignore_conditions
        if conditional and request.key in objects:
            extra = "" if self._plain_conflicts else "<Condition>If-None-Match</Condition>"
            return refusal(412, "PreconditionFailed", "A pre-condition did not hold", extra)
        stored = StoredObject(request.body, self._runtime.time_ms(), etag_of(request.body))
        objects[request.key] = stored
        return Answer(200, headers={"ETag": stored.etag})

    def _list(self, request: Request, objects: Mapping[str, StoredObject]) -> Answer:
        query = request.query
        after = query.get("continuation-token", query.get("start-after", ""))
        size = min(int(query.get("max-keys", _KEYS_PER_PAGE_MAX)), self._keys_per_page_max)
        prefix = query.get("prefix", "")
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        page, more = keys[:size], len(keys) > size
        items = "".join(_item(key, objects[key]) for key in page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return document(
            f"<ListBucketResult><Name>{request.bucket}</Name><KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{size}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{items}</ListBucketResult>"
        )


def _operation(request: Request) -> str:
    if request.method == "GET" and not request.key:
        return "LIST"
    if request.method == "POST":
        return "PUT" if request.key else "DELETE"
    return request.method


def _get(request: Request, objects: Mapping[str, StoredObject]) -> Answer:
    stored = objects.get(request.key)
    if stored is None:
        return refusal(404, "NoSuchKey", "The specified key does not exist.")
    size = len(stored.content)
    headers = {
        "ETag": stored.etag,
        "Last-Modified": email.utils.formatdate(stored.modified_ms / 1000, usegmt=True),
    }
    if request.method == "HEAD":
        return Answer(200, b"", headers | {"Accept-Ranges": "bytes"}, size)
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if span is None:
        return Answer(200, stored.content, headers)
    first, last = int(span[1]), min(int(span[2] or size), size - 1)
    if first >= size:
        return refusal(416, "InvalidRange", "The requested range is not satisfiable")
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Answer(206, stored.content[first : last + 1], headers)


def _item(key: str, stored: StoredObject) -> str:
    modified = dt.datetime.fromtimestamp(stored.modified_ms / 1000, dt.UTC)
    return (
        f"<Contents><Key>{escape(key)}</Key><Size>{len(stored.content)}</Size>"
        f"<LastModified>{modified:%Y-%m-%dT%H:%M:%S}.{modified.microsecond // 1000:03d}Z"
        f"</LastModified><ETag>{escape(stored.etag)}</ETag></Contents>"
    )
