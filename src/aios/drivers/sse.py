"""Server-sent events: bytes in any pieces in, the data of whole events out.

Owns the line and event rules of the format (WHATWG HTML, section 9.2: CR, LF and CRLF, comments, data over
several lines). Knows nothing of what the data means, and nothing of the network.
"""

import re
from collections.abc import Iterator

from aios.abi.errors import Unavailable

_LINE_END = re.compile(rb"\r\n?|\n")


class EventReader:
    """Cuts a stream of bytes into events. Holds at most one unfinished event of `max_event` bytes."""

    def __init__(self, max_event: int) -> None:
        self._max_event = max_event
        self._unfinished = bytearray()
        self._data: list[bytes] = []
        self._num_data_bytes = 0
        self._is_first_line = True

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of the events that `piece` completes. `Unavailable` when one passes the limit."""
        start = len(self._unfinished)
        self._unfinished += piece
        # A CR at the very end may be half of a CRLF, so it waits for what follows.
        held_back = self._unfinished.endswith(b"\r")
        while (cut := self._line_end(start, len(self._unfinished) - held_back)) is not None:
            end, after = cut
            line = bytes(self._unfinished[:end])
            del self._unfinished[:after]
            start = 0
            yield from self._take(line)
        self._check_size()

    def finish(self) -> Iterator[bytes]:
        """The stream has ended: the data of an event whose closing blank line never came, if any.

        The format would throw it away; providers that forget the last blank line are common, and data that
        is not whole is found out by whoever parses it.
        """
        rest, self._unfinished = bytes(self._unfinished).rstrip(b"\r"), bytearray()
        yield from self._take(rest)
        yield from self._take(b"")

    def _line_end(self, start: int, end: int) -> tuple[int, int] | None:
        """Where the first line ends and where the next one starts. Before `start` there is no line feed."""
        # One back: a CR held back in the last piece is looked at again now.
        found = _LINE_END.search(self._unfinished, max(start - 1, 0), end)
        return found.span() if found is not None else None

    def _take(self, line: bytes) -> Iterator[bytes]:
        if self._is_first_line:
            line, self._is_first_line = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line:
            if self._data:
                yield b"\n".join(self._data)
            self._data, self._num_data_bytes = [], 0
            return
        field, _, value = line.partition(b":")
        # llama.cpp tells a failure in a field of its own, where the format knows no such.
        if field in (b"data", b"error"):
            value = value.removeprefix(b" ")
            self._data.append(value)
            # One more for the line itself, so that empty lines without end are cut too.
            self._num_data_bytes += len(value) + 1

    def _check_size(self) -> None:
        if len(self._unfinished) + self._num_data_bytes > self._max_event:
            raise Unavailable(f"the endpoint sent an event of more than {self._max_event} bytes")
