"""What an owner has: how many files and bytes, and the moment of its newest change.

Bytes are those of all versions as they were written, 256 for each version and upload besides: what others
have, and what two versions share on the disk, changes nothing. Owns the table `file_owners`.
"""

import apsw
from msgspec import Struct

from aios.abi.errors import Corrupt, QuotaExceeded
from aios.kernel.files.tables import MICROSECONDS, seal

ROW_BYTES = 256
"""What a version, a folder or an upload counts besides content."""


class Limits(Struct, frozen=True):
    """Of one owner; `config.StorageConfig` says what each means."""

    max_file_bytes: int
    max_files: int
    max_owner_bytes: int
    max_tree_files: int = 10_000
    max_locks: int = 1_000
    max_shares: int = 1_000
    max_uploads: int = 64


class Holdings(Struct):
    """A row of the table, as it is being changed."""

    owner: str
    num_files: int = 0
    num_bytes: int = 0
    moment: int = 0

    def next_moment(self, now: float) -> int:
        """The moment of a change made `now`, in seconds since the epoch: after all that were before."""
        self.moment = max(self.moment + 1, round(now * MICROSECONDS))
        return self.moment

    def count(self, num_files: int, num_bytes: int) -> None:
        """Count something new, or what has gone as less than nothing."""
        self.num_files += num_files
        self.num_bytes += num_bytes

    def check(self, limits: Limits, *, has_more_files: bool = False) -> None:
        """`QuotaExceeded` where it is more than the owner may have."""
        if has_more_files and self.num_files > limits.max_files:
            raise QuotaExceeded(f"{self.owner} has {limits.max_files} files, which is all it may have")
        if self.num_bytes > limits.max_owner_bytes:
            raise QuotaExceeded(
                f"the files of {self.owner} with all their versions may have {limits.max_owner_bytes} "
                "bytes; storage.prune frees old versions"
            )


def load(connection: apsw.Connection, owner: str) -> Holdings:
    """Raises `Corrupt`."""
    row = connection.execute("SELECT * FROM file_owners WHERE owner = ?", (owner,)).fetchone()
    if row is None:
        return Holdings(owner)
    *fields, check = row
    if check != seal(*fields):
        raise Corrupt(f"what is counted of the files of {owner} does not match its checksum; run aios fsck")
    return Holdings(*fields)


def save(connection: apsw.Connection, held: Holdings) -> None:
    fields = (held.owner, held.num_files, held.num_bytes, held.moment)
    connection.execute("REPLACE INTO file_owners VALUES (?, ?, ?, ?, ?)", (*fields, seal(*fields)))
