"""What a provider gave with its tool calls and wants back with them, kept while there is room."""

from collections import OrderedDict

MAX_BYTES = 16 * 1024 * 1024
"""Of all that one driver keeps; the oldest is forgotten."""


class Remembered:
    """Texts by the id of a call. A `ToolCall` has no place for them: they mean nothing to other providers."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._num_bytes = 0

    def keep(self, call_id: str, text: str) -> None:
        self._drop(call_id)
        self._kept[call_id] = text
        self._num_bytes += _size(call_id, text)
        while self._num_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def find(self, call_id: str) -> str | None:
        """What came with a call; None where nothing did, or it is forgotten."""
        return self._kept.get(call_id)

    def _drop(self, call_id: str) -> None:
        if (text := self._kept.pop(call_id, None)) is not None:
            self._num_bytes -= _size(call_id, text)


def _size(call_id: str, text: str) -> int:
    return len(call_id) + len(text)
