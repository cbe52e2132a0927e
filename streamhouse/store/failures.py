"""Errors of the operating system, told apart by what the caller can do about them."""

from __future__ import annotations

import errno
import os

from streamhouse.errors import (
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EROFS, errno.EACCES, errno.EPERM}
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_PASSING = {  # a network file system that is away for a while, or too many open files
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENOTCONN,
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,
}


def from_os_error(error: OSError, action: str, path: str) -> StoreError:
    """The error to raise for a failed system call.

    Args:
        error: What the operating system said.
        action: What was tried, as in "cannot write".
        path: The file or folder concerned.
    """
    number = error.errno
    reason = os.strerror(number) if number else str(error)
    kind: type[StoreError] = StoreError
    advice = ""
    if number in _FULL:
        kind, advice = StoreFullError, "; nothing was written, free some space and try again"
    elif number in _DENIED:
        kind, advice = StoreAccessError, "; check the owner, the permissions and the mount options"
    elif number in _MISSING:
        kind = ObjectNotFoundError
    elif number in _PASSING:
        kind, advice = StoreUnavailableError, "; try again"
    made = kind(f"{action} {path}: {reason}{advice}")
    made.errno = number
    return made
