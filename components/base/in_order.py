"""Work in threads, results in order."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import TypeVar

THREADS = min(3, len(os.sched_getaffinity(0)))
"""Threads of a step: more would wait for the one that compresses."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_in_order(
    threads: futures.ThreadPoolExecutor,
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    ahead: int,
) -> Iterator[_Result]:
    """`threads.map`, but with few items under way at a time (`map` takes them all at once).

    Args:
      threads: Where `function` is called.
      function: Of one item.
      items: Any number of them.
      ahead: How many may be under way, or done and not yet taken.
    """
    waiting: collections.deque[futures.Future[_Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
