"""What a failed S3 request means.

s3fs turns answers into built-in exceptions by the text of an error code, and loses information on
the way (a 409 becomes ``OSError(EIO)``, as a 412 does without ``<Condition>``). So status and code
are read from the botocore exception underneath. Messages are our own: the server's may repeat an
access key.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streamhouse.errors import (
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    StoreUnsafeError,
)


class Answer(NamedTuple):
    """What the server said; status 0: nothing."""

    status: int
    code: str


_PASSING: Final = {408, 409, 425, 429, 500, 502, 503, 504}
_PASSING_CODES: Final = {
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
_DENIED_CODES: Final = {
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_FULL_CODES: Final = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}
_ELSEWHERE_CODES: Final = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
    "301",
    "307",
}
_NO_CREDENTIALS: Final = {  # names of botocore's exceptions, so that it need not be imported
    "CredentialRetrievalError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
_IMPOSSIBLE: Final = {
    "InvalidRegionError",
    "NoRegionError",
    "ParamValidationError",
    "UnknownSignatureVersionError",
    "UnsupportedSignatureVersionError",
}
_NEVER_SENT: Final = _NO_CREDENTIALS | _IMPOSSIBLE
_ADVICE: Final = {
    "ExpiredToken": "the credentials have expired",
    "InvalidAccessKeyId": "the access key is unknown",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
}


def answer_of(error: BaseException) -> Answer:
    """Status and code of the answer that an exception stands for."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return Answer(int(status), str(response["Error"].get("Code", "")))
        seen = seen.__cause__
    return Answer(0, "")


def is_settled(error: BaseException) -> bool:
    """Whether a request was refused for good, by the server or before it was sent: no effect."""
    status, code = answer_of(error)
    if status == 0:
        return type(error).__name__ in _NEVER_SENT
    if status in _PASSING or code in _PASSING_CODES:
        return False
    if status == 404:  # a 404 for the key is what a conditional write gets when it races a delete
        return code == "NoSuchBucket"
    return 300 <= status < 500 or status in {501, 507}


def store_error(error: BaseException, action: str, name: str, bucket: str) -> StoreError:
    """The error to raise for a failed request.

    Args:
        error: What s3fs or botocore raised.
        action: What was tried, as in "cannot read".
        name: The object, as ``s3://bucket/key``.
        bucket: Its bucket.
    """
    status, code = answer_of(error)
    if status == 0:
        return _without_answer(error, action, name)
    said = f"{action} {name}: S3 answered {status} {code}".rstrip()
    if code == "NoSuchBucket":
        return StoreError(f"there is no bucket {bucket!r}; create it, or check the name")
    if code in _FULL_CODES or status == 507:
        return StoreFullError(f"{said}; free some space or raise the quota")
    if status in {401, 403} or code in _DENIED_CODES:
        hint = _ADVICE.get(code, "check credentials and policy (s3:ListBucket is needed as well)")
        return StoreAccessError(f"{said}; {hint}")
    if code in _ELSEWHERE_CODES or status in {301, 307}:
        return StoreError(
            f"{said}; the bucket is in another region, pass "
            'storage_options={"client_kwargs": {"region_name": ...}}'
        )
    if status == 501:
        return StoreUnsafeError(f"{said}; the server does not know conditional writes")
    if status in _PASSING or code in _PASSING_CODES or status >= 500:
        return StoreUnavailableError(f"{said}; try again later")
    return StoreError(said)


def _without_answer(error: BaseException, action: str, name: str) -> StoreError:
    kind = type(error).__name__
    if kind in _NO_CREDENTIALS:
        return StoreAccessError(
            f"{action} {name}: no usable credentials ({kind}); pass storage_options, set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or choose a profile"
        )
    if kind in _IMPOSSIBLE or isinstance(error, (TypeError, ValueError)):
        return StoreError(f"{action} {name}: the request cannot be made ({kind})")
    return StoreUnavailableError(f"{action} {name}: no answer from the server ({kind})")
