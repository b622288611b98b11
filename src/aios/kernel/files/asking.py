"""Who asks for what, as the functions of files are told it."""

from msgspec import Struct

from aios.kernel.files.chunks import Chunk
from aios.kernel.files.holdings import Limits
from aios.kernel.files.tables import MICROSECONDS


class Asking(Struct, frozen=True):
    """One call: of a process, about the things of an owner. That it may make it has been decided before."""

    owner: str
    author: str
    """The principal that calls."""
    pid: int
    now: float
    """Seconds since the epoch."""
    limits: Limits
    content: tuple[Chunk, ...] = ()
    """What the call brings, cut into chunks."""
    is_mirror: bool = False
    """Whether it makes a mount what its directory is, which no lock and no missing right keeps out."""

    @property
    def moment(self) -> int:
        """`now` in microseconds."""
        return round(self.now * MICROSECONDS)
