"""A generation as a request to Gemini's generateContent. Owns the JSON shape, and knows no network.

Facts of the wire: ai.google.dev/api/generate-content, …/gemini-api/docs/function-calling and
…/gemini-api/docs/thought-signatures.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Message, Sampling, ToolCall, ToolSpec
from aios.drivers.content import Blob, Link, Part, Text, parts_of
from aios.drivers.fields import UNCHANGED, renamed, told
from aios.drivers.llm import Generation
from aios.drivers.remembered import Remembered

Json = dict[str, Any]

_SEED_BITS = (1 << 31) - 1
"""A seed is a 32-bit integer with a sign."""
_UNSIGNED = re.compile(r"gemini-[12]\b|gemma")
"""Models that want no signatures back."""
_NO_SIGNATURE = "skip_thought_signature_validator"
"""What the wire takes in place of a signature that is not known, as of a call made by another model."""


def request_body(
    job: Generation, model: str, signatures: Remembered, fields: Mapping[str, str] = UNCHANGED
) -> bytes:
    """The request for `job`. `InvalidArgument` where a message can't be said on this wire.

    `fields` renames fields of the request and of its `generationConfig`; an empty name leaves one out.
    """
    body: Json = {
        "contents": list(_contents(job.messages, model, signatures)),
        "generationConfig": renamed(_config(job.sampling, job.response_schema), fields),
    }
    system = [{"text": message.text} for message in job.messages if message.role == "system" and message.text]
    if system:
        body["systemInstruction"] = {"parts": system}
    if job.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in job.tools]}]
        if job.tool_choice != "auto":
            body["toolConfig"] = {"functionCallingConfig": _calling(job.tool_choice)}
    return msgspec.json.encode(renamed(body, fields))


def _config(sampling: Sampling, schema: Json | None) -> Json:
    body: Json = {"temperature": sampling.temperature}
    names = {
        "presence_penalty": "presencePenalty",
        "frequency_penalty": "frequencyPenalty",
        "n": "candidateCount",
    }
    body |= renamed(told(sampling, *names), names)
    if sampling.temperature > 0 and sampling.seed is not None:
        body["seed"] = sampling.seed & _SEED_BITS
    if sampling.top_p < 1:
        body["topP"] = sampling.top_p
    if sampling.top_k:
        body["topK"] = sampling.top_k
    if sampling.max_tokens is not None:
        body["maxOutputTokens"] = sampling.max_tokens
    if sampling.stop:
        body["stopSequences"] = sampling.stop
    if schema is not None:
        body["responseMimeType"] = "application/json"
        if schema != {"type": "object"}:
            body["responseJsonSchema"] = schema
    return body


def _contents(messages: tuple[Message, ...], model: str, signatures: Remembered) -> Iterator[Json]:
    """The turns. Results that follow each other are one turn: it answers all calls of the turn before."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    results: list[Json] = []
    for message in messages:
        if message.role == "tool":
            results += _result(message, names)
            continue
        if results:
            yield {"role": "user", "parts": results}
            results = []
        parts = [] if message.role == "system" else [_part(part) for part in parts_of(message)]
        parts += _calls(message.tool_calls, model, signatures)
        if parts:
            yield {"role": "model" if message.role == "assistant" else "user", "parts": parts}
    if results:
        yield {"role": "user", "parts": results}


def _part(part: Part) -> Json:
    match part:
        case Text(text):
            return {"text": text}
        case Blob(media_type, data):
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case Link(url):
            kind = {"mimeType": part.media_type} if part.media_type else {}
            return {"fileData": {"fileUri": url, **kind}}


def _calls(calls: tuple[ToolCall, ...], model: str, signatures: Remembered) -> Iterator[Json]:
    for number, call in enumerate(calls):
        signature = signatures.find(call.id)
        if signature is None and number == 0 and not _UNSIGNED.match(model):
            # Of parallel calls the first one carries the signature of all.
            signature = _NO_SIGNATURE
        signed = {"thoughtSignature": signature} if signature is not None else {}
        yield {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}, **signed}


def _result(message: Message, names: Mapping[str, str]) -> Iterator[Json]:
    call_id = message.tool_call_id
    name = names.get(call_id or "") or message.name
    if call_id is None or name is None:
        raise InvalidArgument("a tool's message must name the call that it answers, in tool_call_id")
    response = {"output": message.text}
    yield {"functionResponse": {"id": call_id, "name": name, "response": response}}
    yield from (_part(part) for part in parts_of(message) if not isinstance(part, Text))


def _declaration(tool: ToolSpec) -> Json:
    body: Json = {"name": tool.name}
    if tool.description:
        body["description"] = tool.description
    if tool.parameters:
        body["parametersJsonSchema"] = tool.parameters
    return body


def _calling(choice: str) -> Json:
    if choice == "none":
        return {"mode": "NONE"}
    if choice == "required":
        return {"mode": "ANY"}
    return {"mode": "ANY", "allowedFunctionNames": [choice]}
