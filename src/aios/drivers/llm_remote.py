"""A model behind any OpenAI-compatible endpoint: chat completions, always streamed, and embeddings."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import SplitResult

import msgspec
from msgspec import Struct

from aios.abi.messages import Delta
from aios.drivers.answer import Answer
from aios.drivers.chat_answer import ChatAnswer
from aios.drivers.chat_request import request_body
from aios.drivers.continuing import Continuation
from aios.drivers.embedding import EmbeddingDriver, Piece
from aios.drivers.exchange import Limits
from aios.drivers.fields import renamed
from aios.drivers.llm import Generation

__all__ = ["Limits", "OpenAIDriver"]


class _Vector(Struct):
    embedding: list[float]
    index: int = 0


class _Tokens(Struct):
    prompt_tokens: int | None = None


class _Vectors(Struct):
    """Of an error there is no `data`."""

    data: list[_Vector] | None = None
    model: str = ""
    usage: _Tokens | None = None


_vectors = msgspec.json.Decoder(_Vectors)


class OpenAIDriver(EmbeddingDriver):
    """`base_url` is what the official client calls so, such as `http://127.0.0.1:11434/v1`."""

    def _endpoint(self, base: SplitResult) -> SplitResult:
        return base._replace(path=base.path + "/chat/completions")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}

    def _checked_continuation(self, continuation: Continuation) -> Continuation:
        return continuation

    def _body(self, job: Generation, partial: str) -> bytes:
        return request_body(
            job, self._model, self._fields, partial=partial, is_exact=self._continuation == "exact"
        )

    def _answer(self, job: Generation, emit: Callable[[Delta], None]) -> Answer:
        return ChatAnswer(job, self._model, emit)

    def _embedding_endpoint(self, base: SplitResult) -> SplitResult:
        return base._replace(path=base.path + "/embeddings")

    def _embedding_body(self, texts: Sequence[str], dimensions: int | None) -> bytes:
        body: dict[str, Any] = {"model": self._model, "input": texts}
        if dimensions is not None:
            body["dimensions"] = dimensions
        return msgspec.json.encode(renamed(body, self._fields))

    def _piece(self, data: bytes) -> Piece | None:
        found = _vectors.decode(data)
        if found.data is None:
            return None
        in_order = sorted(found.data, key=lambda one: one.index)
        tokens = None if found.usage is None else found.usage.prompt_tokens
        return Piece([one.embedding for one in in_order], tokens, found.model)
