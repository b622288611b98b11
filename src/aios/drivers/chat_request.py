"""A generation as a request to a chat completions endpoint. Owns the JSON shape, and knows no network."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from aios.abi.messages import Message, Sampling, ToolCall, ToolSpec
from aios.drivers.llm import Generation

Json = dict[str, Any]
_SEED_BITS = (1 << 31) - 1
"""Most endpoints read a seed as a 32-bit integer, some of them with a sign."""
UNCHANGED: Mapping[str, str] = MappingProxyType({})


def request_body(job: Generation, model: str, fields: Mapping[str, str] = UNCHANGED) -> bytes:
    """The request for `job`, always streamed. `fields` renames its fields; an empty name leaves one out."""
    body: Json = {
        "model": model,
        "messages": [_message(message) for message in job.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(job.sampling),
    }
    if job.tools:
        body["tools"] = [_tool(tool) for tool in job.tools]
        if job.tool_choice != "auto":
            body["tool_choice"] = _tool_choice(job.tool_choice)
    if job.response_schema is not None:
        body["response_format"] = _response_format(job.response_schema)
    return msgspec.json.encode({fields.get(k, k): v for k, v in body.items() if fields.get(k, k)})


def _sampling(sampling: Sampling) -> Json:
    body: Json = {"temperature": sampling.temperature}
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
    if _is_strict(schema):
        answer["strict"] = True
    return {"type": "json_schema", "json_schema": answer}


def _is_strict(schema: Any) -> bool:
    """Whether a strict endpoint takes it: every object is closed, and each of its properties required."""
    try:
        return all(map(_is_closed, _parts(schema)))
    except (TypeError, AttributeError, RecursionError):
        return False  # no JSON Schema; what to say of it is the endpoint's business


def _is_closed(schema: Json) -> bool:
    if "properties" not in schema and "object" not in (schema.get("type") or ()):
        return True
    names = schema.get("properties", {}).keys()
    return schema.get("additionalProperties") is False and names <= frozenset(schema.get("required", ()))


def _parts(schema: Json) -> Iterator[Json]:
    """The schema and those inside it."""
    yield schema
    inner = [part for key in ("properties", "$defs") for part in schema.get(key, {}).values()]
    inner += [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    for part in inner:
        yield from _parts(part)
