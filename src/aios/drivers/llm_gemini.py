"""A model behind Google's Gemini API, by its own wire, always streamed."""

from collections.abc import Callable
from functools import cached_property
from urllib.parse import SplitResult, quote

from aios.abi.messages import Delta
from aios.drivers.answer import Answer
from aios.drivers.gemini_answer import GeminiAnswer
from aios.drivers.gemini_request import request_body
from aios.drivers.llm import Generation
from aios.drivers.remembered import Remembered
from aios.drivers.remote_core import RemoteDriver


class GeminiDriver(RemoteDriver):
    """`base_url` is what the official client calls so, such as `https://generativelanguage.googleapis.com`."""

    @cached_property
    def _signatures(self) -> Remembered:
        return Remembered()

    def _endpoint(self, base: SplitResult) -> SplitResult:
        path = base.path if base.path.endswith(("/v1", "/v1beta")) else base.path + "/v1beta"
        model = self._model if "/" in self._model else f"models/{self._model}"
        query = "alt=sse" + (f"&{base.query}" if base.query else "")
        return base._replace(path=f"{path}/{quote(model)}:streamGenerateContent", query=query)

    def _headers(self) -> dict[str, str]:
        return {"x-goog-api-key": self._api_key} if self._api_key else {}

    def _body(self, job: Generation) -> bytes:
        return request_body(job, self._model, self._signatures, self._fields)

    def _answer(self, job: Generation, emit: Callable[[Delta], None]) -> Answer:
        return GeminiAnswer(job, self._model, emit, self._signatures)
