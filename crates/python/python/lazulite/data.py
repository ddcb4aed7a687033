"""Batches that are prepared while the one before them is worked on."""

from collections import deque
from contextlib import nullcontext

from . import core as mx

__all__ = ["prefetch"]


def prefetch(batches, prepare=None, ahead=1, stream=None):
    """Each item of `batches` in order, the last one too, with the next `ahead` on their way.

    `prepare`, if given, makes a batch (a tree of arrays) of each item; its operations go to `stream`,
    a stream or device. The evaluation of what it returns is started and not waited for.

    >>> [b.item() for b in prefetch(range(3), lambda i: mx.array(i) * 10)]
    [0, 10, 20]
    """
    if ahead < 0:
        raise ValueError(f"prefetch: ahead is {ahead}, expected 0 or more")
    waiting = deque()
    for batch in batches:
        if prepare is not None:
            with nullcontext() if stream is None else mx.stream(stream):
                batch = prepare(batch)
        mx.async_eval(batch)
        waiting.append(batch)
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting
