"""What the drivers of remote models that turn texts into vectors share: texts in pieces, and checked vectors.

A wire adds its URL, the body of a request, and the reader of an answer.
"""

from abc import abstractmethod
from collections.abc import Sequence
from urllib.parse import SplitResult

import numpy as np
from msgspec import Struct, structs

from aios.abi.errors import InvalidArgument, Unavailable
from aios.abi.messages import Usage
from aios.drivers.answer import likely_tokens
from aios.drivers.llm import Embedded
from aios.drivers.remote_core import RemoteDriver


class Piece(Struct, frozen=True):
    """What an endpoint says of some texts: a vector for each in their order, and the tokens if it tells."""

    vectors: list[list[float]]
    num_tokens: int | None = None
    model: str = ""


class EmbeddingDriver(RemoteDriver):
    """A `RemoteDriver` that is an `aios.drivers.llm.Embedder`, too."""

    most_texts = 256
    """Of one request."""

    @abstractmethod
    def _embedding_endpoint(self, base: SplitResult) -> SplitResult:
        """The URL of a request, from the base URL."""

    @abstractmethod
    def _embedding_body(self, texts: Sequence[str], dimensions: int | None) -> bytes:
        """The request for the vectors of `texts`."""

    @abstractmethod
    def _piece(self, data: bytes) -> Piece | None:
        """What the answer holds; None where by it the provider reports that it failed.

        Raises `msgspec.DecodeError` when it is neither.
        """

    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embedded:
        """See `aios.drivers.llm.Embedder`."""
        vectors: list[bytes] = []
        num_tokens = 0
        model = self._model
        for begin in range(0, len(texts), self.most_texts):
            some = texts[begin : begin + self.most_texts]
            piece = await self._ask(some, dimensions)
            vectors += _packed(piece.vectors, len(some), dimensions)
            tokens = piece.num_tokens
            num_tokens += sum(map(likely_tokens, some)) if tokens is None else tokens
            model = piece.model or model
        if len({len(vector) for vector in vectors}) > 1:
            raise Unavailable("the endpoint gave vectors of different lengths")
        return Embedded(tuple(vectors), Usage(num_tokens), model)

    async def _ask(self, texts: Sequence[str], dimensions: int | None) -> Piece:
        answer = _Vectors(self)
        # All of an answer comes as one piece.
        limits = structs.replace(self._limits, max_event=self._limits.max_stream)
        url = self._embedding_endpoint(self._base).geturl()
        await self._perform(answer, limits, url, lambda: self._embedding_body(texts, dimensions))
        assert answer.piece is not None
        return answer.piece


class _Vectors:
    """Reads an answer: an `aios.drivers.exchange.Reading`."""

    is_cut = False

    def __init__(self, driver: EmbeddingDriver) -> None:
        self._driver = driver
        self.piece: Piece | None = None

    @property
    def is_done(self) -> bool:
        return self.piece is not None

    @property
    def is_complete(self) -> bool:
        return self.is_done

    @property
    def is_empty(self) -> bool:
        return not self.is_done

    def add(self, data: bytes) -> bool:
        self.piece = self._driver._piece(data)
        return self.piece is not None


def _packed(vectors: Sequence[Sequence[float]], num_texts: int, dimensions: int | None) -> list[bytes]:
    """The vectors as bytes, each of length 1. `Unavailable` or `InvalidArgument` where they are not right."""
    if len(vectors) != num_texts:
        raise Unavailable(f"the endpoint gave {len(vectors)} vectors for {num_texts} texts")
    try:
        found = np.array(vectors, np.float64)
    except ValueError:
        raise Unavailable("the endpoint gave vectors of different lengths") from None
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise Unavailable("the endpoint gave vectors that are empty, zero or not finite")
    if dimensions is not None and found.shape[1] != dimensions:
        raise InvalidArgument(f"the model gives vectors of {found.shape[1]} numbers, not {dimensions}")
    return [row.tobytes() for row in (found / lengths).astype("<f4")]
