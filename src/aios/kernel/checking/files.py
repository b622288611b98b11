"""Checks of files, and of the blobs that hold contents."""

from collections.abc import Iterator
from typing import Any

import apsw

from aios.abi.errors import Corrupt, NotFound
from aios.drivers.sqlite import checksum
from aios.kernel import file_search, files, versions
from aios.kernel.checking.found import Check, Problem

_FILES_COUNTED = f"""
    SELECT o.owner, o.num_files, o.num_bytes,
        (SELECT count(*) FROM files f WHERE f.owner = o.owner AND NOT deleted),
        (SELECT ifnull(sum(ifnull(length(b.content), 0) + {files.VERSION_BYTES}), 0) FROM files f
            JOIN file_versions v USING (docid) LEFT JOIN blobs b ON b.id = v.blob WHERE f.owner = o.owner)
    FROM file_owners o
"""


def _versions(connection: apsw.Connection) -> Iterator[Problem]:
    """Every version of every file can be read, and is what the file says of it."""
    stored: Any = connection.execute(
        "SELECT owner, path, docid, f.version, v.version, v.verb, v.size, f.size FROM files f "
        "LEFT JOIN file_versions v USING (docid) ORDER BY docid, v.version"
    )
    for owner, path, docid, newest, version, verb, size, newest_size in stored:
        name = f"version {version} of '{path}' of {owner}"
        try:
            if version is None or version > newest or (version == newest and size != newest_size):
                raise Corrupt(name)
            if verb != "delete":
                versions.content(connection, docid, path, version)
        except (Corrupt, NotFound):
            yield Problem("row", "file_versions", name)


def _file_owners(connection: apsw.Connection) -> Iterator[Problem]:
    counted: Any = connection.execute(_FILES_COUNTED)
    for owner, num_files, num_bytes, *found in counted:
        if [num_files, num_bytes] != found:
            yield Problem("counter", "file_owners", owner)


def _mend_file_owners(connection: apsw.Connection) -> None:
    counted: list[Any] = connection.execute(_FILES_COUNTED).fetchall()
    for owner, _, _, num_files, num_bytes in counted:
        connection.execute(
            "UPDATE file_owners SET num_files = ?, num_bytes = ? WHERE owner = ?",
            (num_files, num_bytes, owner),
        )


def _file_words(connection: apsw.Connection) -> Iterator[Problem]:
    try:
        connection.execute("SELECT count(*) FROM file_words WHERE file_words MATCH 'a'").fetchall()
    except apsw.CorruptError:
        yield Problem("index", "file_words", "the search index of files")


def _blobs(connection: apsw.Connection) -> Iterator[Problem]:
    stored: Any = connection.execute("SELECT id, hash, content FROM blobs")
    for id, digest, content in stored:
        if not isinstance(content, bytes) or checksum(content) != digest:
            yield Problem("blob", "blobs", f"blob {id}")


CHECKS = (
    Check(("blobs",), _blobs),
    Check(("files", "file_versions"), _versions),
    Check(("file_owners",), _file_owners, _mend_file_owners),
    Check(("files_pending", "file_words"), _file_words, file_search.index_pending),
)
