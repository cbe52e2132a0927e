"""One s3fs instance with an event loop of its own, usable from any thread.

s3fs offers blocking calls through a loop that all of fsspec shares. We do not use them: that loop
may be busy with somebody else's work, cannot be called from its own thread, and s3fs's finaliser
would, in a forked child, wait for a loop that no longer runs. Here the loop, its thread and the
connections have one owner and one ``close``, and a child makes everything anew.

Retries are switched off where they can be (s3fs, botocore), so that an answer is the answer to one
request. One
remains: aiohttp repeats a PUT once when a kept-alive connection turns out to be dead. A conditional
PUT can therefore be refused because of itself, which is why its callers look at what is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from streamhouse.errors import InvalidSettingError, MissingExtraError, nearest
from streamhouse.runtime import process_id

T = TypeVar("T")

_CONNECT_SECONDS = 5
_READ_SECONDS = 15  # silence on a connection, not the length of a request
_CLOSE_SECONDS = 2.0

_CONFIG: dict[str, Any] = {
    "connect_timeout": _CONNECT_SECONDS,
    "read_timeout": _READ_SECONDS,
    "retries": {"total_max_attempts": 1, "mode": "standard"},
    # Containers have checksums of their own; S3's newer ones confuse older servers.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "user_agent": "streamhouse",  # botocore puts its own together for each request, an eighth of the work
}
_SESSION_OPTIONS = ("profile", "session_vars", "event_hooks", "include_builtin_handlers")
_RESERVED_OPTIONS = ("asynchronous", "loop", "skip_instance_cache")


class S3Client:
    """Runs requests of the S3 API.

    Args:
        options: ``storage_options`` as s3fs takes them.
        connections_max: Connections open at once.

    Raises:
        InvalidSettingError: For an option that s3fs does not know.
    """

    def __init__(self, options: Mapping[str, Any], connections_max: int) -> None:
        self._options = _checked(options)
        self._connections_max = connections_max
        self._lock = threading.Lock()
        self._engine: _Engine | None = None

    def request(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the S3 API, such as ``put_object``, once."""

        async def request(fs: Any) -> dict[str, Any]:
            answer: dict[str, Any] = await fs._call_s3(method, **parameters)
            return answer

        return self._ready().run(request)

    def read(self, **parameters: Any) -> tuple[int, bytes]:
        """Call ``get_object`` once and read the body; returns the HTTP status with it."""

        async def read(fs: Any) -> tuple[int, bytes]:
            answer = await fs._call_s3("get_object", **parameters)
            async with answer["Body"] as body:
                return answer["ResponseMetadata"]["HTTPStatusCode"], await body.read()

        return self._ready().run(read)

    def close(self) -> None:
        """Close connections and stop the thread; a later request starts anew."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _ready(self) -> _Engine:
        engine = self._engine
        if engine is not None and engine.process == process_id():
            return engine
        if engine is not None:
            self._lock = threading.Lock()  # the parent may have held it while it forked
            _inherited.append(engine)  # never collected: that would touch the parent's sockets
            self._engine = None
        with self._lock:
            if self._engine is None:
                self._engine = _Engine(self._options, self._connections_max)
                weakref.finalize(self, self._engine.close)
            return self._engine


class _Engine:
    """Loop, thread and connections of one process."""

    def __init__(self, options: dict[str, Any], connections_max: int) -> None:
        self.process = process_id()
        config = {**_CONFIG, "max_pool_connections": connections_max}
        config |= options.get("config_kwargs") or {}
        others = {name: value for name, value in options.items() if name not in _SESSION_OPTIONS}
        self._fs = _s3fs().S3FileSystem(
            **{"session": _session(options), **others, "config_kwargs": config},
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        self._fs.retries = 1
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="streamhouse-s3", daemon=True)
        self._thread.start()

    def run(self, operation: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function of the filesystem on the loop and wait for it."""
        future = asyncio.run_coroutine_threadsafe(operation(self._fs), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # of use only when the wait was interrupted
            raise

    def close(self) -> None:
        if self.process != process_id() or self._loop.is_closed():
            return
        with contextlib.suppress(Exception):
            creator = getattr(self._fs, "_s3creator", None)
            if creator is not None:
                closing = asyncio.run_coroutine_threadsafe(creator.__aexit__(None, None, None), self._loop)
                closing.result(_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


_inherited: list[_Engine] = []
_loaders: list[Any] = []


def _session(options: Mapping[str, Any]) -> Any:
    """A session that shares the description of S3's API, most of the cost of a client (100 ms)."""
    from aiobotocore.session import AioSession  # type: ignore[import-untyped]

    session = AioSession(**{name: options[name] for name in _SESSION_OPTIONS if name in options})
    if _loaders:
        session.register_component("data_loader", _loaders[0])
    else:
        _loaders.append(session.get_component("data_loader"))
    return session


def _s3fs() -> Any:
    try:
        import s3fs
    except ImportError as error:
        raise MissingExtraError(f"s3:// needs s3fs ({error.name}): pip install s3fs") from None
    return s3fs


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    import inspect

    accepted = inspect.signature(_s3fs().S3FileSystem.__init__).parameters
    known = {name for name, p in accepted.items() if p.kind is not p.VAR_KEYWORD} - {"self"}
    known = (known | set(_SESSION_OPTIONS)) - set(_RESERVED_OPTIONS)
    for name in options:
        if name not in known:
            raise InvalidSettingError(f"unknown storage option {name!r} for s3://{nearest(name, known)}")
    return dict(options)
