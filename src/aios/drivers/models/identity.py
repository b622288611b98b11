"""What tells one model from another: its files, and the way they are computed with.

Keys and values of one model mean nothing to another, and those of one number format or kind of device give
other bits on the next. Whoever keeps them beyond a process compares identities before it uses them.
"""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

_WHOLE_BYTES = 16 << 20
"""A larger file is known by its size, its beginning and samples: hashing all of it would take seconds."""
_HEAD_BYTES = 1 << 20
"""Holds the header of a safetensors file: names, shapes and places of its tensors."""
_SAMPLES = 64
_SAMPLE_BYTES = 1 << 14


def identity_of(files: Iterable[Path], computed: str) -> str:
    """`computed` (library, number format, kind of device) and a digest of files; `OSError` from reading."""
    digest = blake2b(digest_size=16)
    for path in sorted(files, key=lambda path: path.name):
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            _add(digest, file, size)
    return f"{computed}-{digest.hexdigest()}"


def _add(digest: blake2b, file: BinaryIO, size: int) -> None:
    if size <= _WHOLE_BYTES:
        digest.update(file.read())
        return
    digest.update(file.read(_HEAD_BYTES))
    for sample in range(_SAMPLES):
        file.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
        digest.update(file.read(_SAMPLE_BYTES))
