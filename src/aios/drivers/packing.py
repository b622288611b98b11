"""Text made smaller with Zstandard, and back. Knows nothing of what the text is.

Each thread has contexts of its own: one must not be used by two at the same time.
"""

import threading

import zstandard

from aios.abi.errors import Corrupt

LEVEL = 3
"""Of compression: higher ones take several times as long for a tenth less."""


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_contexts = _Contexts()


def pack(data: bytes) -> bytes:
    """`data` in fewer bytes; where that cannot be, in a dozen more."""
    packed: bytes = _contexts.compressor.compress(data)
    return packed


def unpack(packed: bytes, size: int) -> bytes:
    """What was packed. Raises `Corrupt` where that is not `size` bytes, before it takes up more."""
    try:
        if zstandard.frame_content_size(packed) == size:
            data: bytes = _contexts.decompressor.decompress(packed)
            return data
    except zstandard.ZstdError:
        pass
    raise Corrupt("what was packed cannot be unpacked")
