"""A model's answer in the shapes of the OpenAI API: a completion, its chunks, and errors. Knows no HTTP."""

import secrets
import time
from collections import Counter
from typing import Any

from aios.abi.errors import AiosError
from aios.abi.messages import Choice, Delta, TokenLogprob, ToolCall, Usage
from aios.abi.syscalls import LlmAnswer
from aios.abi.wire import encode
from aios.server.openai_request import BadField, Chat

Json = dict[str, Any]

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {"unauthenticated": "invalid_api_key", "context_overflow": "context_length_exceeded"}


def completion(chat: Chat, answer: LlmAnswer) -> Json:
    """The whole answer as one object."""
    choices = [_choice(chat, index, choice) for index, choice in enumerate(answer.choices)]
    head = _head("chat.completion", answer.model or chat.model)
    return head | {"choices": choices, "usage": _usage(answer.usage)}


def _choice(chat: Chat, index: int, choice: Choice) -> Json:
    calls = [_tool_call(call) for call in _calls_of(chat, choice)]
    message: Json = {"role": "assistant", "content": choice.text, "refusal": None}
    if calls:
        message |= {"content": choice.text or None, "tool_calls": calls}
    logprobs = _logprobs(choice.logprobs)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}


class Chunks:
    """An answer as a stream of chunks. The end brings what deltas did not: they add up to the answer."""

    def __init__(self, chat: Chat, model: str) -> None:
        """`model` is what it is thought to be; where no chunk came before the end, the answer says."""
        self._chat = chat
        self._head = _head("chat.completion.chunk", model)
        self._begun: set[int] = set()
        self._num_chars: Counter[int] = Counter()
        self._num_calls: Counter[int] = Counter()

    def delta(self, delta: Delta) -> bytes:
        """The chunk for a piece of the answer; nothing where there is nothing to say."""
        piece: Json = {}
        index = delta.index
        if delta.text:
            self._num_chars[index] += len(delta.text)
            piece["content"] = delta.text
        if delta.tool_call is not None:
            if not (self._chat.only_one_call and self._num_calls[index]):
                piece["tool_calls"] = [{"index": self._num_calls[index]} | _tool_call(delta.tool_call)]
            self._num_calls[index] += 1
        return self._chunk(piece, index=index, logprobs=delta.logprobs) if piece else b""

    def end(self, answer: LlmAnswer) -> bytes:
        """The last chunks: why it ended, what it took where asked for, and the mark of the end."""
        if not self._begun and answer.model:
            self._head["model"] = answer.model
        rest = [self._end(index, choice) for index, choice in enumerate(answer.choices)]
        if self._chat.with_usage:
            rest.append(event(self._head | {"choices": [], "usage": _usage(answer.usage)}))
        return b"".join(rest) + b"data: [DONE]\n\n"

    def _end(self, index: int, choice: Choice) -> bytes:
        rest = [self.delta(Delta(choice.text[self._num_chars[index] :], index=index))]
        calls = choice.tool_calls[self._num_calls[index] :]
        rest += [self.delta(Delta(tool_call=call, index=index)) for call in calls]
        return b"".join(rest) + self._chunk({}, choice.finish_reason, index)

    def _chunk(
        self,
        piece: Json,
        finish_reason: str | None = None,
        index: int = 0,
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> bytes:
        if index not in self._begun:
            self._begun.add(index)
            piece = {"role": "assistant", "content": None} | piece
        choice = {
            "index": index,
            "delta": piece,
            "logprobs": _logprobs(logprobs),
            "finish_reason": finish_reason,
        }
        usage = {"usage": None} if self._chat.with_usage else {}
        return event(self._head | {"choices": [choice]} | usage)


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(value) + b"\n\n"


def error_body(error: AiosError) -> Json:
    """An error as the API words it."""
    status = error.http_status
    kind = _TYPES.get(status, "invalid_request_error" if status < 499 else "server_error")
    param = error.param if isinstance(error, BadField) else None
    code = _CODES.get(error.code, error.code)
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}


def _head(kind: str, model: str) -> Json:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": "aios",
    }


def _calls_of(chat: Chat, choice: Choice) -> tuple[ToolCall, ...]:
    return choice.tool_calls[:1] if chat.only_one_call else choice.tool_calls


def _tool_call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": encode(call.arguments).decode()}
    return {"id": call.id, "type": "function", "function": function}


def _logprobs(tokens: tuple[TokenLogprob, ...]) -> Json | None:
    return {"content": [_token(token) for token in tokens], "refusal": None} if tokens else None


def _token(token: TokenLogprob) -> Json:
    top = [_likely(other) for other in token.top]
    return _likely(token) | {"top_logprobs": top}


def _likely(token: TokenLogprob) -> Json:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.bytes)}


def _usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
