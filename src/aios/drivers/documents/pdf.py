"""Text out of PDF, page by page, with pypdf: the extra `[documents]`."""

import logging
from io import BytesIO

from aios.drivers.documents.text import Collected, Unreadable

MISSING = "PDF files are read with the extra [documents]: pip install 'aios[documents]'"


def read(data: bytes, collected: Collected) -> None:
    """Raises `Unreadable` or `Enough`."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        raise Unreadable(MISSING) from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # It says much of a file that is a little broken.
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("it is encrypted")
        for page in reader.pages:
            collected.add(f"{page.extract_text()}\n\n")
    except PyPdfError as error:
        raise Unreadable(f"it is no whole PDF: {error}") from None
