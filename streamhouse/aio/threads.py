"""Calls that may block, on the worker threads of a log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


async def run(threads: ThreadPoolExecutor, call: Callable[..., T], *args: Any, **options: Any) -> T:
    """Wait for a call without holding up the loop."""
    return await asyncio.get_running_loop().run_in_executor(threads, partial(call, *args, **options))
