"""Snapshots on disk: one file each, compressed, named by the job that it is a state of.

The name is a digest of the model's identity and of all that determines the answer: who asks for the same
again finds what there was of it, after a restart too, and gets the same tokens. Owns the form of the files
and their bounds. A file is never needed: what cannot be read is told, dropped, and computed again.
"""

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from struct import Struct as Layout
from typing import Any

import msgspec
import numpy as np
import zstandard
from msgspec import Struct
from numpy.typing import NDArray

from aios.abi.errors import Conflict, Corrupt, QuotaExceeded, Unavailable
from aios.drivers.engine_branches import BranchesState
from aios.drivers.llm import Generation

Arrays = Sequence[NDArray[Any]]

VERSION = 2
_MAGIC = b"AIOSKV"
_HEAD = Layout("<6sHI")
"""Magic, version, length of the description."""
_CHECKSUM = 16
_LEVEL = 1
"""Numbers hardly get smaller at any level; this one takes the least time."""
_LARGEST_DESCRIPTION = 64 << 20


class Described(Struct, frozen=True):
    """What a file says of itself before the numbers."""

    identity: str
    """Of the model, its numbers and how they are computed."""
    block: int
    """Positions of a block."""
    prompt: str
    """A digest of its tokens: the same messages may come to others in another version of this program."""
    length: int
    num_blocks: int
    branches: BranchesState
    dtype: str
    shapes: tuple[tuple[int, ...], ...]


def name_of(identity: str, job: Generation) -> str:
    """The name of the snapshots of a job on a model."""
    said = msgspec.json.encode((identity, job))
    return blake2b(said, digest_size=20).hexdigest()


def prompt_digest(prompt: Sequence[int]) -> str:
    """What tells a prompt from others."""
    return blake2b(np.array(prompt, np.int64).tobytes(), digest_size=16).hexdigest()


class SnapshotFiles:
    """The files of one folder, of `max_bytes` together: the oldest go first."""

    def __init__(self, folder: Path, identity: str, max_bytes: int) -> None:
        self._folder, self._identity, self._max_bytes = folder, identity, max_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sizes: dict[str, int] = {}
        for path in sorted(_files(folder), key=lambda path: path.stat().st_mtime_ns):
            if path.suffix:  # begun, and never finished
                path.unlink(missing_ok=True)
            else:
                self._sizes[path.name] = path.stat().st_size

    @property
    def num_bytes(self) -> int:
        return sum(self._sizes.values())

    def __contains__(self, name: str) -> bool:
        return name in self._sizes or (self._folder / name).is_file()

    def write(self, name: str, described: Described, arrays: Arrays) -> int:
        """Keep a snapshot; the bytes it takes. `QuotaExceeded` where it is larger than all may be,
        `Unavailable` where the disk takes no more; nothing is left behind then.
        """
        body = _packed(described, arrays)
        if len(body) > self._max_bytes:
            raise QuotaExceeded(f"a snapshot of {len(body)} bytes; all may take {self._max_bytes}")
        self._make_room(len(body))
        begun = self._folder / f"{name}.{os.getpid()}"
        try:
            begun.write_bytes(body)
            begun.replace(self._folder / name)
        except OSError as error:
            begun.unlink(missing_ok=True)
            raise Unavailable(f"the snapshot can't be written: {error}") from None
        self._sizes[name] = len(body)
        return len(body)

    def take(self, name: str) -> tuple[Described, list[NDArray[Any]]] | None:
        """A snapshot, whose file is used up by this; None where there is none.

        Raises `Corrupt` where it is damaged and `Conflict` where it is another model's: it is gone then, too.
        """
        path = self._folder / name
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            self._sizes.pop(name, None)
            return None
        except OSError as error:
            raise Corrupt(f"the snapshot can't be read: {error}") from None
        finally:
            self.drop(name)
        return _unpacked(body, self._identity)

    def drop(self, name: str) -> None:
        """Forget a snapshot."""
        self._sizes.pop(name, None)
        (self._folder / name).unlink(missing_ok=True)

    def _make_room(self, num_bytes: int) -> None:
        while self._sizes and self.num_bytes + num_bytes > self._max_bytes:
            self.drop(next(iter(self._sizes)))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())


def _packed(described: Described, arrays: Arrays) -> bytes:
    said = msgspec.json.encode(described)
    numbers = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(numbers)
    body = _HEAD.pack(_MAGIC, VERSION, len(said)) + said + packed
    return body + blake2b(body, digest_size=_CHECKSUM).digest()


def _unpacked(body: bytes, identity: str) -> tuple[Described, list[NDArray[Any]]]:
    if len(body) < _HEAD.size + _CHECKSUM:
        raise Corrupt("the snapshot is cut off")
    magic, version, length = _HEAD.unpack_from(body)
    if magic != _MAGIC:
        raise Corrupt("the file is no snapshot")
    if version != VERSION:
        raise Conflict(f"the snapshot is of form {version}, and this is form {VERSION}")
    if blake2b(body[:-_CHECKSUM], digest_size=_CHECKSUM).digest() != body[-_CHECKSUM:]:
        raise Corrupt("the snapshot does not match its checksum")
    described = msgspec.json.decode(body[_HEAD.size : _HEAD.size + length], type=Described)
    if described.identity != identity:
        raise Conflict(f"the snapshot is of the model {described.identity}, and this is {identity}")
    return described, _arrays(described, body[_HEAD.size + length : -_CHECKSUM])


def _arrays(described: Described, packed: bytes) -> list[NDArray[Any]]:
    dtype = np.dtype(described.dtype)
    sizes = [int(np.prod(shape)) * dtype.itemsize for shape in described.shapes]
    try:
        numbers = zstandard.ZstdDecompressor().decompress(packed, max_output_size=sum(sizes))
    except zstandard.ZstdError as error:
        raise Corrupt(f"the snapshot can't be unpacked: {error}") from None
    if len(numbers) != sum(sizes):
        raise Corrupt("the snapshot has too few numbers")
    ends = np.cumsum(sizes).tolist()
    parts = zip(described.shapes, sizes, ends, strict=True)
    return [np.frombuffer(numbers[end - size : end], dtype).reshape(shape) for shape, size, end in parts]
