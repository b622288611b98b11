"""Text out of HTML: what a reader would see, a line for each block."""

import re
from html.parser import HTMLParser

from aios.drivers.documents.text import Collected

_UNSEEN = {"script", "style", "template", "noscript", "svg", "math", "head"}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p"),
    *("pre", "section", "table", "td", "th", "title", "tr", "ul", "option", "summary", "details", "caption"),
}
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:\-]{1,40})""", re.IGNORECASE)
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_HEAD_BYTES = 2048


def read(data: bytes, collected: Collected) -> None:
    """Raises `Enough`."""
    reader = _Reader(collected)
    reader.feed(_decoded(data))
    reader.close()


class _Reader(HTMLParser):
    def __init__(self, collected: Collected) -> None:
        super().__init__(convert_charrefs=True)
        self._collected = collected
        self._unseen: list[str] = []
        """Open elements whose content is not shown, the innermost last."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._unseen.clear()
        elif tag in _UNSEEN or tag == "body":
            self._unseen = [] if tag == "body" else [*self._unseen[-20:], tag]
        if tag in _BLOCKS:
            self._collected.add("\n")
        for name, value in attrs:
            if name == "alt" and value and not self._unseen:
                self._collected.add(f" {value} ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[len(self._unseen) - 1 - self._unseen[::-1].index(tag) :]
        if tag in _BLOCKS:
            self._collected.add("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._collected.add(data)


def _decoded(data: bytes) -> str:
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    named = _CHARSET.search(data[:_HEAD_BYTES])
    try:
        return data.decode(named[1].decode() if named else "utf-8", "replace")
    except LookupError:  # It names an encoding that there is not.
        return data.decode("utf-8", "replace")
