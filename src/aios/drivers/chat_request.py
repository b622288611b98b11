"""A generation as a request to a chat completions endpoint. Owns the JSON shape, and knows no network."""

from collections.abc import Mapping
from typing import Any

import msgspec

from aios.abi.messages import Message, Sampling, ToolCall, ToolSpec
from aios.drivers.fields import TELLING, UNCHANGED, renamed, told
from aios.drivers.llm import Generation
from aios.drivers.schemas import is_strict

Json = dict[str, Any]
_SEED_BITS = (1 << 31) - 1
"""Most endpoints read a seed as a 32-bit integer, some of them with a sign."""
_WORDS = tuple(name for name in TELLING if name != "beams")
"""Settings for which this wire has a word."""
_SCHEMA_TOLD = "Answer with nothing but JSON that fits this JSON Schema: "


def request_body(
    job: Generation,
    model: str,
    fields: Mapping[str, str] = UNCHANGED,
    *,
    partial: str = "",
    is_exact: bool = False,
) -> bytes:
    """The request for `job`, always streamed. `fields` renames its fields; an empty name leaves one out.

    Three of its names stand for something inside a field: `messages.name`; `messages.prefix`, by which some
    endpoints want a partial answer marked; and `json_schema`, which an endpoint that takes no schema knows as
    `json_object` or not at all; the schema is then told in the prompt.

    The answer goes on from `partial`, if that is not empty. `is_exact`: in the way of vLLM and SGLang, which
    also tell with each piece what it took.
    """
    body: Json = {
        "model": model,
        "messages": [renamed(_message(message), _of_messages(fields)) for message in job.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(job.sampling, fields),
    }
    if is_exact:
        body["stream_options"]["continuous_usage_stats"] = True
    if partial:
        body["messages"].append(_partial(partial, fields))
        if is_exact:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    if job.tools:
        body["tools"] = [_tool(tool) for tool in job.tools]
        if job.tool_choice != "auto":
            body["tool_choice"] = _tool_choice(job.tool_choice)
    if job.response_schema is not None:
        body |= _schema(job.response_schema, body["messages"], fields.get("json_schema"))
    return msgspec.json.encode(renamed(body, fields))


def _of_messages(fields: Mapping[str, str]) -> dict[str, str]:
    return {"name": fields["messages.name"]} if "messages.name" in fields else {}


def _partial(text: str, fields: Mapping[str, str]) -> Json:
    mark = fields.get("messages.prefix")
    return {"role": "assistant", "content": text, **({mark: True} if mark else {})}


def _schema(schema: Json, messages: list[Json], known_as: str | None) -> Json:
    """The fields that ask for an answer by `schema`, `known_as` what stands for `json_schema`."""
    if known_as is None:
        return {"response_format": _response_format(schema)}
    told = {"role": "system", "content": _SCHEMA_TOLD + msgspec.json.encode(schema).decode()}
    format = {"response_format": {"type": known_as}} if known_as else {}
    return {"messages": [told, *messages], **format}


def _sampling(sampling: Sampling, fields: Mapping[str, str]) -> Json:
    body: Json = {"temperature": sampling.temperature}
    body |= told(sampling, *(name for name in _WORDS if fields.get(name, name)))
    if "logprobs" in body:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if sampling.temperature > 0 and sampling.seed is not None:
        body["seed"] = sampling.seed & _SEED_BITS
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if sampling.stop:
        body["stop"] = sampling.stop
    return body


def _message(message: Message) -> Json:
    body: Json = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
        body["content"] = message.content or None
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        body["name"] = message.name
    return body


def _tool_call(call: ToolCall) -> Json:
    arguments = msgspec.json.encode(call.arguments).decode()
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _tool(tool: ToolSpec) -> Json:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    function: Json = {"name": tool.name, "parameters": parameters}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> str | Json:
    if choice in ("none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _response_format(schema: Json) -> Json:
    if schema == {"type": "object"}:
        return {"type": "json_object"}
    answer: Json = {"name": "answer", "schema": schema}
    if is_strict(schema):
        answer["strict"] = True
    return {"type": "json_schema", "json_schema": answer}
