"""A cache with two bounds: how many entries, and how many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["BoundedCache"]

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Keeps what was used last. The newest entry stays, however large it is."""

    def __init__(self, entries: int, size: int) -> None:
        """Args: the most entries, and the most bytes of all of them."""
        self.entries, self.size = entries, size
        self.bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Value | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        with self._lock:
            self._drop(key)
            self._kept[key] = value, size
            self.bytes += size
            while len(self._kept) > 1 and (
                len(self._kept) > self.entries or self.bytes > self.size
            ):
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self.bytes -= size
