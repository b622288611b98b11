"""Chunks: the bytes of files, each kept once under its hash however many versions hold it.

Owns their table. A chunk is there as long as a piece of a version or a part of an upload says so; whoever
takes the last of these away has it freed in the same transaction.
"""

from collections.abc import Iterable

import apsw
from msgspec import Struct

from aios.abi.errors import Corrupt
from aios.drivers.sqlite import checksum
from aios.kernel.files.cutting import MIN_CHUNK, cuts


class Chunk(Struct, frozen=True):
    """Bytes and their hash."""

    hash: bytes
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)


def chunks_of(content: bytes) -> tuple[Chunk, ...]:
    """`content` cut and hashed: none where it is empty."""
    if 0 < len(content) <= MIN_CHUNK:
        return (Chunk(checksum(content), content),)
    begin, chunks = 0, []
    for end in cuts(content):
        part = content[begin:end]
        chunks.append(Chunk(checksum(part), part))
        begin = end
    return tuple(chunks)


def put(connection: apsw.Connection, chunk: Chunk) -> int:
    """Keep a chunk and answer its id; one that is there already is not kept twice."""
    added: int | None = connection.execute(
        "INSERT INTO file_chunks (hash, content) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id",
        (chunk.hash, chunk.content),
    ).get
    if added is not None:
        return added
    row = connection.execute(
        "SELECT id, content IS ? FROM file_chunks WHERE hash = ?", (chunk.content, chunk.hash)
    ).fetchone()
    assert row is not None
    if not row[1]:  # It was damaged, and here is what it was.
        connection.execute("UPDATE file_chunks SET content = ? WHERE id = ?", (chunk.content, row[0]))
    return int(row[0])


def checked(hash: bytes, content: object) -> bytes:
    """The content of a chunk as it was read. Raises `Corrupt` where it is not what was kept."""
    if not isinstance(content, bytes) or checksum(content) != hash:
        raise Corrupt("the stored content does not match its checksum")
    return content


def free(connection: apsw.Connection, ids: Iterable[int]) -> None:
    """Remove those of these chunks that nothing holds any more."""
    connection.executemany(
        "DELETE FROM file_chunks WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM file_pieces WHERE chunk = ?1) "
        "AND NOT EXISTS (SELECT 1 FROM upload_parts WHERE chunk = ?1)",
        [(id,) for id in set(ids)],
    )
