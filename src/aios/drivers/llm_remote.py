"""A model behind any OpenAI-compatible chat completions endpoint, always streamed."""

from collections.abc import Callable
from urllib.parse import SplitResult

from aios.abi.messages import Delta
from aios.drivers.answer import Answer
from aios.drivers.chat_answer import ChatAnswer
from aios.drivers.chat_request import request_body
from aios.drivers.exchange import Limits
from aios.drivers.llm import Generation
from aios.drivers.remote_core import RemoteDriver

__all__ = ["Limits", "OpenAIDriver"]


class OpenAIDriver(RemoteDriver):
    """`base_url` is what the official client calls so, such as `http://127.0.0.1:11434/v1`."""

    def _endpoint(self, base: SplitResult) -> SplitResult:
        return base._replace(path=base.path + "/chat/completions")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}

    def _body(self, job: Generation) -> bytes:
        return request_body(job, self._model, self._fields)

    def _answer(self, job: Generation, emit: Callable[[Delta], None]) -> Answer:
        return ChatAnswer(job, self._model, emit)
