"""Finding files by words: best first, each with the piece of text that was found.

Owns the full-text index of files and the list of versions that it has yet to take in.
"""

import re
from typing import Any

import apsw

from aios.abi.errors import Corrupt
from aios.abi.syscalls import FileEntry, FileHit, FileHits
from aios.drivers.sqlite import get_blob
from aios.kernel.indexing import index_in_pieces, index_or_mend, keep_up
from aios.kernel.words import TOKENIZER, match_any, owner_word, words_of

SCHEMA = f"""
    CREATE VIRTUAL TABLE file_words USING fts5 (
        owner, body, content='', contentless_delete=1, tokenize='{TOKENIZER}'
    );
    INSERT INTO file_words (file_words, rank) VALUES ('rank', 'bm25(0.0, 1.0)');
    CREATE TABLE files_pending (place INTEGER PRIMARY KEY, version_id INTEGER NOT NULL);
"""

INDEXED_BYTES = 64 * 1024
"""Of each write or append, what the search looks through."""
SNIPPET_LETTERS = 160
MAX_SNIPPET_BYTES = 16 * 1024 * 1024
"""Read for the snippets of one search; files after that are found without."""


_IS_LIVE = "NOT f.deleted AND v.version BETWEEN f.version - f.depth AND f.version"
"""Whether a version is part of what its file is now."""

_START_OVER = f"""
    INSERT INTO file_words (file_words) VALUES ('delete-all');
    DELETE FROM files_pending;
    INSERT INTO files_pending (version_id)
        SELECT v.id FROM file_versions v JOIN files f USING (docid) WHERE {_IS_LIVE};
"""


def changed(connection: apsw.Connection, docid: int, first: int, last: int) -> None:
    """Note down that these versions of a file became part of its content, or ceased to be."""
    connection.execute(
        "INSERT INTO files_pending (version_id) "
        "SELECT id FROM file_versions WHERE docid = ? AND version BETWEEN ? AND ?",
        (docid, first, last),
    )
    keep_up(connection, index_pending)


def index_pending(connection: apsw.Connection) -> None:
    """Bring the index up to date, made anew where it is damaged."""
    index_or_mend(connection, _index_pending, _START_OVER)


def _index_pending(connection: apsw.Connection) -> None:
    query = (
        f"SELECT DISTINCT v.id, owner, path, blob, {_IS_LIVE} FROM files_pending "
        "JOIN file_versions v ON v.id = version_id JOIN files f USING (docid) WHERE place < ?"
    )
    index_in_pieces(connection, "files_pending", query, _index)


def _index(connection: apsw.Connection, rows: list[tuple[Any, ...]]) -> None:
    for version_id, owner, path, blob, is_live in rows:
        connection.execute("DELETE FROM file_words WHERE rowid = ?", (version_id,))
        if is_live:
            connection.execute(
                "INSERT INTO file_words (rowid, owner, body) VALUES (?, ?, ?)",
                (version_id, owner_word(owner), f"{path} {_text(_content(connection, blob))}"),
            )


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
        "SELECT -rank, blob, path, f.version, f.size, f.created, f.modified FROM file_words "
        "JOIN file_versions v ON v.id = file_words.rowid JOIN files f USING (docid) "
        f"WHERE file_words MATCH ? AND f.owner = ? AND {_IS_LIVE} ORDER BY rank",
        (expression, owner),
    )
    hits: dict[str, FileHit] = {}
    room = MAX_SNIPPET_BYTES
    for score, blob, path, version, size, created, modified in rows:
        if len(hits) == limit:
            break
        if path in hits:
            continue
        content = _content(connection, blob) if room > 0 else b""
        room -= len(content)
        entry = FileEntry(path, owner, version, size, created, modified)
        hits[path] = FileHit(entry, snippet(_text(content), text), score)
    return tuple(hits.values())


def _content(connection: apsw.Connection, blob: int) -> bytes:
    """What was written; nothing where it is damaged, which reading the file tells."""
    try:
        return get_blob(connection, blob)
    except Corrupt:
        return b""


def _text(content: bytes) -> str:
    """What the search looks through: the beginning, where it is text."""
    head = content[:INDEXED_BYTES]
    return "" if b"\0" in head else head.decode("utf-8", "ignore")


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
