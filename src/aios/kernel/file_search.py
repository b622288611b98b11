"""Finding files by words: best first, each with the piece of text that was found.

Owns the full-text index of files; which of them it has yet to take in, the table `files_pending` says.
"""

import re
from typing import Any

import apsw

from aios.abi.errors import Corrupt, NotFound
from aios.abi.syscalls import FileHit, FileHits
from aios.kernel import indexing
from aios.kernel.files import reading, states
from aios.kernel.files.entries import File
from aios.kernel.files.tables import seal
from aios.kernel.indexing import index_in_pieces, index_or_mend
from aios.kernel.words import TOKENIZER, match_any, owner_word, words_of

_ALL_PENDING = "INSERT INTO files_pending (docid) SELECT docid FROM files WHERE NOT deleted;"

SCHEMA = (
    f"""
    CREATE VIRTUAL TABLE file_words USING fts5 (
        owner, body, content='', contentless_delete=1, tokenize='{TOKENIZER}'
    );
    INSERT INTO file_words (file_words, rank) VALUES ('rank', 'bm25(0.0, 1.0)');
    {_ALL_PENDING}
    """,
)

INDEXED_BYTES = 64 * 1024
"""Of each file, what the search looks through."""
SNIPPET_LETTERS = 160
MAX_SNIPPET_BYTES = 16 * 1024 * 1024
"""Read for the snippets of one search; files after that are found without."""

_START_OVER = f"""
    INSERT INTO file_words (file_words) VALUES ('delete-all');
    DELETE FROM files_pending;
    {_ALL_PENDING}
"""


def keep_up(connection: apsw.Connection) -> None:
    """Index now where too much waits; to be called in the transaction of a change.

    An index that is damaged beyond mending does not stop what is being written, which goes on waiting.
    """
    if (connection.execute("SELECT max(place) FROM files_pending").get or 0) >= indexing.MAX_PENDING:
        try:
            index_pending(connection)
        except apsw.CorruptError:
            return


def index_pending(connection: apsw.Connection) -> None:
    """Bring the index up to date, made anew where it is damaged."""
    index_or_mend(connection, _index_pending, _START_OVER)


def _index_pending(connection: apsw.Connection) -> None:
    query = (
        "SELECT DISTINCT p.docid, f.* FROM files_pending p LEFT JOIN files f ON f.docid = p.docid "
        "WHERE place < ?"
    )
    index_in_pieces(connection, "files_pending", query, _index)


def _index(connection: apsw.Connection, rows: list[tuple[Any, ...]]) -> None:
    for docid, *fields, check in rows:
        connection.execute("DELETE FROM file_words WHERE rowid = ?", (docid,))
        if check is None or check != seal(*fields):
            continue
        file = File(*fields)
        if not file.deleted:
            connection.execute(
                "INSERT INTO file_words (rowid, owner, body) VALUES (?, ?, ?)",
                (docid, owner_word(file.owner), f"{file.path} {_text(connection, file)}"),
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
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT -rank, f.* FROM file_words JOIN files f ON f.docid = file_words.rowid "
        "WHERE file_words MATCH ? AND f.owner = ? AND NOT f.deleted ORDER BY rank LIMIT ?",
        (expression, owner, limit),
    ).fetchall()
    hits: list[FileHit] = []
    room = MAX_SNIPPET_BYTES
    for score, *fields, check in rows:
        if check != seal(*fields):  # Reading the file tells.
            continue
        file = File(*fields)
        content = _text(connection, file) if room > 0 else ""
        room -= INDEXED_BYTES
        hits.append(FileHit(file.entry, snippet(content, text), score))
    return tuple(hits)


def _text(connection: apsw.Connection, file: File) -> str:
    """What the search looks through: a file's beginning, where it is text and sound."""
    try:
        state = states.with_content(connection, file, file.version)
        head = reading.part(connection, file.path, state, 0, min(state.size, INDEXED_BYTES)).data
    except (Corrupt, NotFound):
        return ""
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
