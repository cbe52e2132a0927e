"""Large files to S3, in parts that travel beside each other.

The object shows up when the last request says that all parts are there, and not before; who gives up on
the way says so, so that nobody pays for parts without an object.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from streamhouse import limits
from streamhouse.errors import ObjectNotFoundError, StoreError

PART_BYTES: Final = 16 * limits.MIB
_PARTS_MAX: Final = 9_000  # S3 takes 10,000
_AT_ONCE: Final = 4

Request = Callable[..., dict[str, Any]]
"""Calls a method of the S3 API, again if it has to be."""


def upload_in_parts(request: Request, target: dict[str, str], path: str) -> None:
    """Make an object out of a file.

    Args:
        request: How to ask.
        target: Bucket and key.
        path: The file.

    Raises:
        StoreError: The store fails; there is no object.
    """
    size = os.path.getsize(path)  # noqa: PTH202
    part_bytes = max(PART_BYTES, -(-size // _PARTS_MAX))
    upload = {**target, "UploadId": request("create_multipart_upload", **target)["UploadId"]}

    def send(number: int) -> dict[str, Any]:
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek((number - 1) * part_bytes)
            body = file.read(part_bytes)
        answer = request("upload_part", **upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    try:
        with ThreadPoolExecutor(_AT_ONCE, "streamhouse-upload") as threads:
            sent = [threads.submit(send, number) for number in range(1, -(-size // part_bytes) + 1)]
            try:
                parts = [each.result() for each in sent]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        _complete(request, upload, parts, size)
    except BaseException:
        with contextlib.suppress(StoreError):
            request("abort_multipart_upload", **upload)
        raise


def _complete(request: Request, upload: dict[str, Any], parts: list[dict[str, Any]], size: int) -> None:
    try:
        request("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts})
    except ObjectNotFoundError:  # the upload is gone: perhaps since a first answer got lost
        target = {name: upload[name] for name in ("Bucket", "Key")}
        if request("head_object", **target)["ContentLength"] != size:
            raise
