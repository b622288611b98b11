"""Text as it comes out of a document: so much at most, its blank lines and spaces made few."""

import re

HTML = "text/html"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
DOCUMENTS = frozenset((HTML, PDF, DOCX, XLSX, PPTX))
"""The media types of what has its text taken out of it."""

_SPACES = re.compile(r"[^\S\n]+")
_LINE_ENDS = re.compile(r" ?\n ?")
_BLANK_LINES = re.compile(r"\n{3,}")


class Unreadable(Exception):
    """A document gives no text: why, in words for whoever wrote it."""


class Enough(Exception):
    """There is as much text as is wanted."""


class Collected:
    """Text that is put together piece by piece, `max_letters` at most; the rest is left."""

    def __init__(self, max_letters: int) -> None:
        self._parts: list[str] = []
        self._room = max_letters

    def add(self, text: str) -> None:
        """Raises `Enough` once there is no room for more."""
        self._parts.append(text[: self._room])
        self._room -= len(text)
        if self._room <= 0:
            raise Enough

    @property
    def text(self) -> str:
        found = _LINE_ENDS.sub("\n", _SPACES.sub(" ", "".join(self._parts)))
        return _BLANK_LINES.sub("\n\n", found).strip()
