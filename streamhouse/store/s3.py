"""Buckets of S3 and of servers that speak its protocol, through s3fs.

Creation is a PUT with ``If-None-Match: *``, always in one request (a multipart upload would show
the conflict only after all parts). Its failures are told apart with care, because the commit
protocol depends on it:

=============================================  ============================
answer                                         outcome
=============================================  ============================
200                                            CREATED
412                                            EXISTS (perhaps by ourselves)
409, 5xx, 429, time-out, reset, no connection  UNKNOWN
403, no such bucket, bad request               an error: nothing was made
=============================================  ============================

Even "connection refused" is UNKNOWN: it may be the second try of a request whose first was carried
out and lost its answer (see :mod:`streamhouse.store.s3client`). Requests that may be repeated
without harm are, for a few seconds; then the caller decides.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from streamhouse.errors import ObjectNotFoundError, StoreError
from streamhouse.runtime import Runtime
from streamhouse.store.base import Buffer, ObjectInfo, PutOutcome, StoreCapabilities
from streamhouse.store.s3client import S3Client
from streamhouse.store.s3errors import answer_of, is_settled, store_error
from streamhouse.store.s3upload import PART_BYTES, upload_in_parts

T = TypeVar("T")

_TRIES = 3
_TRY_SECONDS = 5.0  # no further try after this long
_PAUSE_SECONDS = 0.1
_KEYS_PER_REQUEST = 1000  # S3's limit for listings and for deletions
_CAPABILITIES = StoreCapabilities(remote=True, atomic_create=False, shared=True)


class S3Store:
    """Objects in a bucket.

    Args:
        bucket: Name of the bucket, or an access point's ARN.
        prefix: Where in the bucket, without slashes around; empty for all of it.
        options: ``storage_options`` as s3fs takes them.
        request_concurrency: Requests under way at once.
        runtime: Jitter between tries.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        options: Mapping[str, Any],
        *,
        request_concurrency: int,
        runtime: Runtime,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._runtime = runtime
        self._client = S3Client(options, connections_max=2 * request_concurrency)

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def capabilities(self) -> StoreCapabilities:
        return _CAPABILITIES

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    def put_if_absent(self, name: str, data: Sequence[Buffer]) -> PutOutcome:
        try:
            self._client.request("put_object", **self._object(name), Body=_joined(data), IfNoneMatch="*")
        except Exception as error:  # noqa: BLE001 - whatever it is, the outcome must be told
            if answer_of(error).status == 412:
                return PutOutcome.EXISTS
            if is_settled(error):
                raise self._error(error, "cannot create", name) from None
            return PutOutcome.UNKNOWN
        return PutOutcome.CREATED

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        body = _joined(data)
        self._repeat("cannot write", name, "put_object", **self._object(name), Body=body)

    def upload(self, name: str, path: str) -> None:
        """Make an object out of a file of any size; it is there as a whole, or not at all."""
        if os.path.getsize(path) > PART_BYTES:  # noqa: PTH202
            upload_in_parts(partial(self._repeat, "cannot write", name), self._object(name), path)
            return
        with open(path, "rb") as file:  # noqa: PTH123
            self.put(name, [file.read()])

    def get(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and start >= end:
            return b""
        span = {}
        if start or end is not None:
            span["Range"] = f"bytes={start}-" + ("" if end is None else str(end - 1))
        try:
            status, data = self._tries(
                lambda: self._client.read(**self._object(name), **span), "cannot read", name
            )
        except _EmptyRangeError:
            return b""
        # A server that ignores Range answers 200 with everything.
        return data[start:end] if span and status == 200 else data

    def head(self, name: str) -> ObjectInfo | None:
        try:
            found = self._repeat("cannot look at", name, "head_object", **self._object(name))
        except ObjectNotFoundError:
            return None
        return ObjectInfo(name, found["ContentLength"], _milliseconds(found["LastModified"]))

    def list(self, prefix: str, start_after: str = "", limit: int | None = None) -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        for page in self._pages(prefix, start_after, limit):
            found += [
                ObjectInfo(
                    item["Key"][len(self._prefix) :],
                    item["Size"],
                    _milliseconds(item["LastModified"]),
                )
                for item in page
                if not item["Key"].endswith("/")  # what consoles make for "folders"
            ]
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def delete_many(self, names: Iterable[str]) -> None:
        rest = iter(names)
        while batch := list(islice(rest, _KEYS_PER_REQUEST)):
            if len(batch) == 1:
                self._repeat("cannot delete", batch[0], "delete_object", **self._object(batch[0]))
            else:
                self._delete_batch(batch)

    def sweep(self, older_than_seconds: float) -> int:  # noqa: ARG002 - nothing is left behind here
        return 0

    def commit_lock(
        self,
        timeout_seconds: float,  # noqa: ARG002 - S3 has nothing to wait for
    ) -> AbstractContextManager[bool]:
        return contextlib.nullcontext(False)

    def close(self) -> None:
        self._client.close()

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    def _pages(self, prefix: str, start_after: str, limit: int | None) -> Iterator[Sequence[dict[str, Any]]]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        if start_after:
            request["StartAfter"] = self._prefix + start_after
        if limit is not None:
            if limit <= 0:
                return
            request["MaxKeys"] = min(limit, _KEYS_PER_REQUEST)
        last = ""
        while True:
            answer = self._repeat("cannot list", prefix, "list_objects_v2", **request)
            page = answer.get("Contents", [])
            for item in page:
                # Directory buckets and some servers list in no order; a limit would then skip
                # objects.
                if item["Key"] <= last:
                    raise StoreError(f"{self.url} lists objects out of order; it cannot hold a log")
                last = item["Key"]
            yield page
            if not answer.get("IsTruncated"):
                return
            token = answer.get("NextContinuationToken")
            if not token:
                raise StoreError(f"the listing of {self.url}/{prefix} ended before it was complete")
            request["ContinuationToken"] = token

    def _delete_batch(self, names: Sequence[str]) -> None:
        keys = {"Objects": [{"Key": self._prefix + name} for name in names], "Quiet": True}
        answer = self._repeat("cannot delete", names[0], "delete_objects", Bucket=self._bucket, Delete=keys)
        for failure in answer.get("Errors", []):
            if failure.get("Code") != "NoSuchKey":
                refused = _RefusedError(failure.get("Code", ""))
                raise store_error(refused, "cannot delete", self._place(failure["Key"]), self._bucket)

    def _repeat(self, action: str, name: str, method: str, **parameters: Any) -> dict[str, Any]:
        return self._tries(lambda: self._client.request(method, **parameters), action, name)

    def _tries(self, operation: Callable[[], T], action: str, name: str) -> T:
        """Run something harmless to repeat, a few times if it has to be."""
        begun = self._runtime.monotonic()
        for number in range(1, _TRIES + 1):
            try:
                return operation()
            except Exception as error:  # noqa: BLE001 - translated, never swallowed
                failure = self._error(error, action, name)
                late = self._runtime.monotonic() - begun > _TRY_SECONDS
                if not failure.retriable or late or number == _TRIES:
                    raise failure from None
            time.sleep(_PAUSE_SECONDS * 4 ** (number - 1) * self._runtime.uniform(0.5, 1.5))
        raise AssertionError("unreachable")

    def _error(self, error: Exception, action: str, name: str) -> StoreError:
        status, code = answer_of(error)
        if status == 404 and code != "NoSuchBucket":
            return ObjectNotFoundError(f"no object {name} in {self.url}")
        if status == 416:
            return _EmptyRangeError(name)
        return store_error(error, action, self._place(self._prefix + name), self._bucket)

    def _place(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"


class _EmptyRangeError(StoreError):
    """The range begins at or after the end of the object."""


class _RefusedError(Exception):
    """One key of a deletion that was refused, in the shape of a botocore error."""

    def __init__(self, code: str) -> None:
        self.response = {
            "Error": {"Code": code},
            "ResponseMetadata": {"HTTPStatusCode": 403 if code == "AccessDenied" else 500},
        }


def _joined(data: Sequence[Buffer]) -> bytes:
    if len(data) == 1 and isinstance(data[0], bytes):
        return data[0]
    return b"".join(data)


def _milliseconds(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1000)
