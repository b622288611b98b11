"""The function that is run in a process of its own for each document: bytes in, text out."""

import base64
from collections.abc import Callable

from aios.drivers.documents import office, pdf, web
from aios.drivers.documents.text import DOCX, HTML, PDF, PPTX, XLSX, Collected, Enough, Unreadable

READERS: dict[str, Callable[[bytes, Collected], None]] = {
    HTML: web.read,
    PDF: pdf.read,
    DOCX: office.read_docx,
    XLSX: office.read_xlsx,
    PPTX: office.read_pptx,
}
"""By media type, what reads such documents."""


def extract(media: str, data: str, max_letters: int) -> str:
    """Take the text out of a document, given as base64: so much of it at most. Raises `Unreadable`."""
    collected = Collected(max_letters)
    try:
        READERS[media](base64.b64decode(data), collected)
    except Enough:
        pass
    except MemoryError:
        raise Unreadable("it takes more memory than a document may") from None
    except RecursionError:
        raise Unreadable("it is nested too deep") from None
    if not collected.text:
        raise Unreadable("there is no text in it")
    return collected.text
