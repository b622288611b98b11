"""A generation as a request to Anthropic's Messages API. Owns the JSON shape, and knows no network.

Facts of the wire: platform.claude.com/docs/en/api/messages and …/build-with-claude/structured-outputs.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Message, Sampling, ToolCall, ToolSpec
from aios.drivers.anthropic_models import Abilities, abilities
from aios.drivers.anthropic_thoughts import Thoughts
from aios.drivers.content import Blob, Link, Part, Text, parts_of
from aios.drivers.fields import UNCHANGED, renamed, told
from aios.drivers.llm import Generation
from aios.drivers.schemas import plain

Json = dict[str, Any]

MAX_TOKENS = 4096
"""Of an answer without a limit of its own: this wire wants one always."""
ANSWER_TOOL = "give_answer"
"""The tool whose input is the answer, where the endpoint can't be told the schema of an answer as such."""
WRAPPED = "answer"
"""The property that holds such an answer where it is no object, as a tool's input must be."""

_SCHEMA_TOLD = "Answer with nothing but JSON that fits this JSON Schema: "
_TOOL_TOLD = "Answer by calling a tool now."
_NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9_-]")


SchemaWay = Literal["format", "tool", "told"]
"""How an answer by a schema is asked for: as the format of the answer, as a tool's input, in the prompt."""


def request_body(
    job: Generation,
    model: str,
    fields: Mapping[str, str] = UNCHANGED,
    thoughts: Thoughts | None = None,
    partial: str = "",
) -> bytes:
    """The request for `job`, always streamed. `InvalidArgument` where a message can't be said on this wire.

    `fields` renames its fields; an empty name leaves one out, and a name sends one that the model is not
    known to take. `thoughts` are those of turns before. The answer goes on from `partial`, if that is not
    empty; the wire refuses one that ends with white space.
    """
    takes = abilities(model)
    way = schema_way(job, model, fields)
    recalled = thoughts.recall(job.messages, job.tools) if thoughts is not None else {}
    body: Json = {
        "model": model,
        "max_tokens": job.sampling.max_tokens or MAX_TOKENS,
        "messages": _turns(job.messages, recalled),
        "stream": True,
        **_sampling(job.sampling, takes, fields),
    }
    if partial:
        body["messages"].append({"role": "assistant", "content": [{"type": "text", "text": partial}]})
    tools = [_tool(tool) for tool in job.tools]
    if way == "tool":
        tools.append(_answer_tool(job.response_schema or {}))
    elif way == "format":
        body["output_config"] = {
            "format": {"type": "json_schema", "schema": plain(job.response_schema or {})}
        }
    if tools:
        body["tools"] = tools
        if (choice := _tool_choice(job, way, takes)) is not None:
            body["tool_choice"] = choice
    if system := "\n\n".join(_system(job, way, takes)):
        body["system"] = system
    return msgspec.json.encode(renamed(body, fields))


def schema_way(job: Generation, model: str, fields: Mapping[str, str]) -> SchemaWay | None:
    """How the answer to `job` is asked for by its schema; None where it has none."""
    if job.response_schema is None:
        return None
    takes = abilities(model)
    formats = bool(fields.get("output_config", "output_config" if takes.formats else ""))
    if formats and plain(job.response_schema) is not None:
        return "format"
    return "tool" if takes.forces_tools else "told"


def is_wrapped(schema: Json) -> bool:
    """Whether an answer by `schema` is a property of the tool's input, and not the whole of it."""
    return schema.get("type") != "object"


def _sampling(sampling: Sampling, takes: Abilities, fields: Mapping[str, str]) -> Json:
    # A seed has no field on this wire; temperatures end at 1.
    told(sampling)
    body: Json = {"temperature": min(sampling.temperature, 1.0)}
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    body = {name: value for name, value in body.items() if takes.samples or name in fields}
    if sampling.stop:
        body["stop_sequences"] = sampling.stop
    return body


def _system(job: Generation, way: SchemaWay | None, takes: Abilities) -> Iterator[str]:
    """What the system says, and what else has no field."""
    yield from (message.text for message in job.messages if message.role == "system" and message.text)
    if way == "told":
        yield _SCHEMA_TOLD + msgspec.json.encode(job.response_schema).decode()
    elif way != "tool" and job.tools and not takes.forces_tools and job.tool_choice not in ("auto", "none"):
        yield _TOOL_TOLD if job.tool_choice == "required" else f"{_TOOL_TOLD} Call {job.tool_choice}."


def _turns(messages: tuple[Message, ...], recalled: Mapping[int, list[Json]]) -> list[Json]:
    """Users and assistants in turn: neighbours of one role become one."""
    turns: list[Json] = []
    for place, message in enumerate(messages):
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": []})
        turns[-1]["content"] += recalled.get(place) or _blocks(message)
    for turn in turns:
        # Results come first in a turn, before what else the user says.
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return [turn for turn in turns if turn["content"]]


def _blocks(message: Message) -> Iterator[Json]:
    blocks = [_block(part) for part in parts_of(message)]
    if message.role == "tool":
        if message.tool_call_id is None:
            raise InvalidArgument("a tool's message must name the call that it answers, in tool_call_id")
        yield {"type": "tool_result", "tool_use_id": _id(message.tool_call_id), "content": blocks}
        return
    yield from blocks
    yield from map(_tool_use, message.tool_calls)


def _block(part: Part) -> Json:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Link(url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case Blob(media_type, data):
            source = {"type": "base64", "media_type": media_type, "data": data}
            return {"type": _kind(media_type), "source": source}


def _kind(media_type: str) -> str:
    if media_type.startswith("image/"):
        return "image"
    if media_type == "application/pdf":
        return "document"
    raise InvalidArgument(f"this core takes images and PDF documents, but no {media_type!r}")


def _tool_use(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": call.arguments}


def _id(call_id: str) -> str:
    """A call's id as this wire allows it: a conversation may have begun on another core."""
    return _NOT_OF_AN_ID.sub("_", call_id)


def _tool(tool: ToolSpec) -> Json:
    body: Json = {"name": tool.name, "input_schema": tool.parameters or {"type": "object", "properties": {}}}
    if tool.description:
        body["description"] = tool.description
    return body


def _answer_tool(schema: Json) -> Json:
    if is_wrapped(schema):
        # What `$ref` points to is looked for from the root.
        defs = {key: value for key, value in schema.items() if key in ("$defs", "definitions")}
        inner = {key: value for key, value in schema.items() if key not in defs}
        schema = {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED], **defs}
    return {"name": ANSWER_TOOL, "description": "Gives the final answer.", "input_schema": schema}


def _tool_choice(job: Generation, way: SchemaWay | None, takes: Abilities) -> Json | None:
    choice = job.tool_choice
    if way == "tool" and choice in ("auto", "required", "none"):
        if choice == "none" or not job.tools:
            return {"type": "tool", "name": ANSWER_TOOL}
        choice = "required"
    if choice == "none":
        return {"type": "none"}
    if choice == "auto" or not takes.forces_tools:
        return None  # left to the model
    return {"type": "any"} if choice == "required" else {"type": "tool", "name": choice}
