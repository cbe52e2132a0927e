"""Uploads in parts, as :class:`~streamhouse.testing.s3server.FakeS3Server` carries them out."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import MutableMapping

import msgspec

from streamhouse.testing.s3http import Answer, Request, document, refusal

_PART_BYTES_MIN = 5 << 20  # of every part but the last


class StoredObject(msgspec.Struct, frozen=True):
    """An object of the server."""

    content: bytes
    modified_ms: int
    etag: str


class Uploads:
    """Those that were begun and not ended."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, bytes]] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._parts)

    def carry_out(self, request: Request, objects: MutableMapping[str, StoredObject], time_ms: int) -> Answer:
        """Answer a request about an upload.

        Args:
            request: The request.
            objects: Of its bucket, by key.
            time_ms: When an object is made.
        """
        if "uploads" in request.query:
            name = f"upload-{next(self._numbers)}"
            self._parts[name] = {}
            return document(
                f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            )
        parts = self._parts.get(request.query["uploadId"])
        if parts is None:
            return refusal(404, "NoSuchUpload", "The specified upload does not exist.")
        if request.method == "PUT":
            parts[int(request.query["partNumber"])] = request.body
            return Answer(200, headers={"ETag": etag_of(request.body)})
        if request.method == "DELETE":
            del self._parts[request.query["uploadId"]]
            return Answer(204)
        return self._complete(request, parts, objects, time_ms)

    def _complete(
        self,
        request: Request,
        parts: dict[int, bytes],
        objects: MutableMapping[str, StoredObject],
        time_ms: int,
    ) -> Answer:
        wanted = [int(number) for number in re.findall(rb"<PartNumber>(\d+)<", request.body)]
        if not wanted or wanted != sorted(parts):
            return refusal(400, "InvalidPart", "One or more of the parts could not be found.")
        if any(len(parts[number]) < _PART_BYTES_MIN for number in wanted[:-1]):
            return refusal(400, "EntityTooSmall", "A part other than the last is too small.")
        del self._parts[request.query["uploadId"]]
        content = b"".join(parts[number] for number in wanted)
        objects[request.key] = StoredObject(content, time_ms, etag_of(content))
        return document("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")


def etag_of(content: bytes) -> str:
    """What S3 says of the bytes of an object."""
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
