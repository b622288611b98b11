"""Text out of Office Open XML (ECMA-376): documents, workbooks and slides, which are XML in a zip file.

Parts are read as a stream and only as far as `MAX_PART` bytes each, `MAX_PARTS` together: what unpacks to
more is refused, whatever its directory says. A part that declares entities or a document type is refused.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from posixpath import join, normpath
from typing import IO
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

from aios.drivers.documents.text import Collected, Unreadable

MAX_PART = 64 * 1024 * 1024
"""Bytes that one part may unpack to."""
MAX_PARTS = 10_000
"""Parts of a document."""

_PIECE = 64 * 1024
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_NUMBER = re.compile(r"(\d+)\.xml$")


def read_docx(data: bytes, collected: Collected) -> None:
    """The text first, then notes and comments, then heads and feet. Raises `Unreadable` or `Enough`."""
    with _Parts(data) as parts:
        parts.need("word/document.xml")
        for names in ("document", "(?:footnotes|endnotes|comments)", r"(?:header|footer)\d*"):
            for name in parts.like(rf"word/{names}\.xml"):
                _paragraphs(parts, name, collected)


def read_pptx(data: bytes, collected: Collected) -> None:
    """Slide by slide, each with its notes. Raises `Unreadable` or `Enough`."""
    with _Parts(data) as parts:
        parts.need("ppt/presentation.xml")
        for name in parts.like(r"ppt/slides/slide\d+\.xml"):
            _paragraphs(parts, name, collected)
            notes = f"ppt/notesSlides/notesSlide{_number(name)}.xml"
            if notes in parts.names:
                _paragraphs(parts, notes, collected)
            collected.add("\n\n")


def read_xlsx(data: bytes, collected: Collected) -> None:
    """Sheet by sheet under its name, a line for each row. Raises `Unreadable` or `Enough`."""
    with _Parts(data) as parts:
        parts.need("xl/workbook.xml")
        shared = list(_shared(parts)) if "xl/sharedStrings.xml" in parts.names else []
        for title, name in _sheets(parts):
            collected.add(f"{title}\n")
            _rows(parts, name, shared, collected)
            collected.add("\n")


class _Parts:
    """The parts of a document, by name."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = ZipFile(BytesIO(data))
        except (BadZipFile, ValueError, NotImplementedError) as error:
            raise Unreadable(f"it is no Office document: {error}") from None
        self.names = set(self._zip.namelist())
        if len(self.names) > MAX_PARTS:
            raise Unreadable(f"it has more than {MAX_PARTS} parts")

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, *exit: object) -> None:
        self._zip.close()

    def need(self, name: str) -> None:
        if name not in self.names:
            raise Unreadable(f"it is no such document: it has no {name}")

    def like(self, pattern: str) -> list[str]:
        """By the numbers in their names."""
        names = [name for name in self.names if re.fullmatch(pattern, name)]
        return sorted(names, key=lambda name: (_number(name), name))

    def elements(self, name: str) -> Iterator[tuple[str, ElementTree.Element]]:
        """Each element of a part as it begins and ends, without its namespace; then it is forgotten."""
        try:
            with self._zip.open(name) as stream:
                for event, element in ElementTree.iterparse(_Bounded(stream), ("start", "end")):
                    element.tag = element.tag.rpartition("}")[2]
                    yield event, element
                    if event == "end" and element.tag in _WHOLE:
                        element.clear()
        except (ElementTree.ParseError, BadZipFile, ZlibError, EOFError, RuntimeError, ValueError) as error:
            raise Unreadable(f"it is broken: {error}") from None
        except KeyError:
            raise Unreadable(f"it has no {name}") from None


class _Bounded:
    """A part as it is unpacked, up to what it may have."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._num_bytes = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(min(size, _PIECE) if size > 0 else _PIECE)
        if not self._num_bytes and (b"<!DOCTYPE" in piece or b"<!ENTITY" in piece):
            raise Unreadable("it declares entities")
        self._num_bytes += len(piece)
        if self._num_bytes > MAX_PART:
            raise Unreadable(f"it unpacks to more than {MAX_PART} bytes")
        return piece


_WHOLE = {"p", "row", "si", "sheet", "Relationship"}
"""Elements that are looked at whole, at their end."""


def _paragraphs(parts: _Parts, name: str, collected: Collected) -> None:
    for event, element in parts.elements(name):
        if event == "start":
            continue
        if element.tag == "t":
            collected.add(element.text or "")
        elif element.tag in ("tab", "tc"):
            collected.add("\t")
        elif element.tag in ("p", "br", "cr"):
            collected.add("\n")


def _shared(parts: _Parts) -> Iterator[str]:
    room = MAX_PART
    for event, element in parts.elements("xl/sharedStrings.xml"):
        if event == "end" and element.tag == "si":
            text = "".join(one.text or "" for one in element.iter("t"))
            room -= len(text)
            if room < 0:
                raise Unreadable("its texts are too long")
            yield text


def _sheets(parts: _Parts) -> Iterator[tuple[str, str]]:
    """The name of each sheet and of the part that it is in, in their order."""
    targets: dict[str, str] = {}
    for event, element in parts.elements("xl/_rels/workbook.xml.rels"):
        if event == "end" and element.tag == "Relationship":
            target = element.get("Target", "")
            targets[element.get("Id", "")] = (
                target.lstrip("/") if target.startswith("/") else join("xl", target)
            )
    for event, element in parts.elements("xl/workbook.xml"):
        if event == "end" and element.tag == "sheet":
            name = normpath(targets.get(element.get(_RELATION, ""), ""))
            if name in parts.names:
                yield element.get("name", ""), name


def _rows(parts: _Parts, name: str, shared: list[str], collected: Collected) -> None:
    for event, element in parts.elements(name):
        if event == "end" and element.tag == "row":
            cells = [_cell(cell, shared) for cell in element.iter("c")]
            collected.add("\t".join(cells).rstrip("\t") + "\n")


def _cell(cell: ElementTree.Element, shared: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return "".join(one.text or "" for one in cell.iter("t"))
    value = cell.find("v")
    text = "" if value is None else value.text or ""
    if cell.get("t") != "s":
        return text
    return shared[int(text)] if text.isdecimal() and int(text) < len(shared) else ""


def _number(name: str) -> int:
    found = _NUMBER.search(name)
    return int(found[1]) if found else 0
