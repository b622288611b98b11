"""A model behind Anthropic's Messages API, by its own wire, always streamed."""

from collections.abc import Callable
from functools import cached_property
from urllib.parse import SplitResult

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Delta
from aios.drivers.answer import Answer
from aios.drivers.anthropic_answer import AnthropicAnswer
from aios.drivers.anthropic_models import abilities
from aios.drivers.anthropic_request import request_body, schema_way
from aios.drivers.anthropic_thoughts import Thoughts
from aios.drivers.continuing import Continuation
from aios.drivers.llm import Generation
from aios.drivers.remote_core import RemoteDriver

VERSION = "2023-06-01"
"""Of the wire; the newest there is (platform.claude.com/docs/en/api/versioning)."""


class AnthropicDriver(RemoteDriver):
    """`base_url` is what the official client calls so, such as `https://api.anthropic.com`."""

    def _endpoint(self, base: SplitResult) -> SplitResult:
        return base._replace(path=base.path.removesuffix("/v1") + "/v1/messages")

    def _headers(self) -> dict[str, str]:
        return {"anthropic-version": VERSION} | ({"x-api-key": self._api_key} if self._api_key else {})

    @cached_property
    def _thoughts(self) -> Thoughts:
        return Thoughts()

    def _checked_continuation(self, continuation: Continuation) -> Continuation:
        if continuation == "exact":
            raise InvalidArgument("this wire has no exact continuation; it goes on by prefill")
        return continuation if abilities(self._model).prefills else "none"

    def _body(self, job: Generation, partial: str) -> bytes:
        return request_body(job, self._model, self._fields, self._thoughts, partial)

    def _answer(self, job: Generation, emit: Callable[[Delta], None]) -> Answer:
        by_tool = schema_way(job, self._model, self._fields) == "tool"
        return AnthropicAnswer(job, self._model, emit, by_tool=by_tool, thoughts=self._thoughts)
