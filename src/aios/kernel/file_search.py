"""Finding files by words: best first, each with the piece of text that was found.

Knows the full-text index and the tables of files; changes nothing.
"""

import re

import apsw

from aios.abi.errors import Corrupt
from aios.abi.syscalls import FileHit, FileHits
from aios.drivers.sqlite import get_blob
from aios.kernel.files import File, indexed_text
from aios.kernel.words import match_any, words_of

SNIPPET_LETTERS = 160
MAX_SNIPPET_BYTES = 16 * 1024 * 1024
"""Read for the snippets of one search; files after that are found without."""


def search(connection: apsw.Connection, owner: str, text: str, limit: int) -> FileHits:
    """The files whose path or content holds any of the words (BM25); where none does, words that begin so."""
    hits = _search(connection, owner, text, limit, is_prefix=False)
    return FileHits(hits or _search(connection, owner, text, limit, is_prefix=True))


def _search(
    connection: apsw.Connection, owner: str, text: str, limit: int, *, is_prefix: bool
) -> tuple[FileHit, ...]:
    expression = match_any(owner, text, is_prefix=is_prefix)
    if expression is None:
        return ()
    # An append is an entry of its own in the index, so a file may come up several times.
    rows = connection.execute(
        "SELECT -rank, blob, path, files.docid, files.version, files.size, files.depth, created, "
        "files.modified, deleted FROM file_words JOIN file_versions v ON v.id = file_words.rowid "
        "JOIN files ON files.docid = v.docid WHERE file_words MATCH ? AND files.owner = ? ORDER BY rank",
        (expression, owner),
    )
    hits: dict[str, FileHit] = {}
    room = MAX_SNIPPET_BYTES
    for score, blob, path, *fields in rows:
        if len(hits) == limit:
            break
        if path in hits:
            continue
        content = _content(connection, blob) if room > 0 else b""
        room -= len(content)
        hits[path] = FileHit(File(owner, path, *fields).entry, snippet(indexed_text(content), text), score)
    return tuple(hits.values())


def _content(connection: apsw.Connection, blob: int) -> bytes:
    """The content for a snippet: none where it is damaged, which reading the file tells."""
    try:
        return get_blob(connection, blob)
    except Corrupt:
        return b""


def snippet(content: str, text: str) -> str:
    """The part of `content` around the first of the text's words, or its beginning."""
    start = _first(content, words_of(text))
    begin = max(0, start - SNIPPET_LETTERS // 4)
    end = begin + SNIPPET_LETTERS
    found = " ".join(content[begin:end].split())
    return ("…" if begin > 0 else "") + found + ("…" if end < len(content) else "")


def _first(content: str, words: list[str]) -> int:
    """Where any of the words begins; without its ending, as the index cuts those off."""
    stems = "|".join(re.escape(word[: max(3, len(word) - 3)]) for word in words)
    match = re.search(rf"\b(?:{stems})", content, re.IGNORECASE) if stems else None
    return match.start() if match else 0
