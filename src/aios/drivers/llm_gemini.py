"""A model behind Google's Gemini API, by its own wire, always streamed."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, quote

import msgspec
from msgspec import Struct

from aios.abi.messages import Delta
from aios.drivers.answer import Answer
from aios.drivers.embedding import EmbeddingDriver, Piece
from aios.drivers.gemini_answer import GeminiAnswer
from aios.drivers.gemini_request import request_body
from aios.drivers.llm import Generation
from aios.drivers.remembered import Remembered


class _Vector(Struct):
    values: list[float]


class _Vectors(Struct):
    """Of an error there are no `embeddings`."""

    embeddings: list[_Vector] | None = None


_vectors = msgspec.json.Decoder(_Vectors)


class GeminiDriver(EmbeddingDriver):
    """`base_url` is what the official client calls so, such as `https://generativelanguage.googleapis.com`."""

    @cached_property
    def _signatures(self) -> Remembered:
        return Remembered()

    most_texts = 100

    def _endpoint(self, base: SplitResult) -> SplitResult:
        query = "alt=sse" + (f"&{base.query}" if base.query else "")
        return self._method(base, "streamGenerateContent")._replace(query=query)

    def _method(self, base: SplitResult, name: str) -> SplitResult:
        path = base.path if base.path.endswith(("/v1", "/v1beta")) else base.path + "/v1beta"
        return base._replace(path=f"{path}/{quote(self._resource)}:{name}")

    @property
    def _resource(self) -> str:
        """The model's name in full."""
        return self._model if "/" in self._model else f"models/{self._model}"

    def _headers(self) -> dict[str, str]:
        return {"x-goog-api-key": self._api_key} if self._api_key else {}

    def _body(self, job: Generation, partial: str) -> bytes:
        return request_body(job, self._model, self._signatures, self._fields)

    def _answer(self, job: Generation, emit: Callable[[Delta], None]) -> Answer:
        return GeminiAnswer(job, self._model, emit, self._signatures)

    def _embedding_endpoint(self, base: SplitResult) -> SplitResult:
        return self._method(base, "batchEmbedContents")

    def _embedding_body(self, texts: Sequence[str], dimensions: int | None) -> bytes:
        size = {} if dimensions is None else {"outputDimensionality": dimensions}
        of_all: dict[str, Any] = {"model": self._resource, **size}
        return msgspec.json.encode(
            {"requests": [{**of_all, "content": {"parts": [{"text": text}]}} for text in texts]}
        )

    def _piece(self, data: bytes) -> Piece | None:
        found = _vectors.decode(data)
        return None if found.embeddings is None else Piece([one.values for one in found.embeddings])
