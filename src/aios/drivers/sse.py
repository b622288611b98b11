"""Server-sent events: bytes in any pieces in, the data of whole events out.

Owns the line and event rules of the format (WHATWG HTML, section 9.2: CR, LF and CRLF, comments, data over
several lines). Knows nothing of what the data means, and nothing of the network.
"""

from aios.abi.errors import Unavailable

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventReader:
    """Cuts a stream of bytes into events. Holds at most one unfinished event of `max_event` bytes."""

    def __init__(self, max_event: int) -> None:
        self._max_event = max_event
        self._held_back = b""
        self._begun = bytearray()
        """Of a line whose end has not come."""
        self._data: list[bytes] = []
        self._num_data_bytes = 0
        self._is_first_line = True

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that `piece` completes. `Unavailable` when one passes the limit."""
        found = []
        for line in self._lines(piece):
            if line:
                self._take(line)
            elif self._data:
                found.append(b"\n".join(self._data))
                self._data, self._num_data_bytes = [], 0
        if len(self._begun) + self._num_data_bytes > self._max_event:
            raise Unavailable(f"the endpoint sent an event of more than {self._max_event} bytes")
        return found

    def finish(self) -> list[bytes]:
        """The stream has ended: the data of an event whose closing blank line never came, if any.

        The format would throw it away; providers that forget the last blank line are common, and data that
        is not whole is found out by whoever parses it.
        """
        return self.feed(b"\n\n")

    def _lines(self, piece: bytes) -> list[bytes]:
        """The lines that `piece` completes."""
        piece = self._held_back + piece
        # A CR at the very end may be half of a CRLF, so it waits for what follows.
        self._held_back = b"\r" if piece.endswith(b"\r") else b""
        piece = piece.removesuffix(b"\r")
        lines = piece.splitlines()
        rest = b"" if piece.endswith((b"\n", b"\r")) or not lines else lines.pop()
        if lines:
            lines[0] = bytes(self._begun) + lines[0]
            self._begun.clear()
            if self._is_first_line:
                lines[0], self._is_first_line = lines[0].removeprefix(_BYTE_ORDER_MARK), False
        self._begun += rest
        return lines

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        # llama.cpp tells a failure in a field of its own, where the format knows no such.
        if field in (b"data", b"error"):
            value = value.removeprefix(b" ")
            self._data.append(value)
            # One more for the line itself, so that empty lines without end are cut too.
            self._num_data_bytes += len(value) + 1
