"""How a family's replies call tools: what opens a call, what may follow, and how it is read.

Owns the families' formats, as their chat templates show them to the model. A format is known by template and
vocabulary and not by the family, so a model that was trained on to another format is read by its own.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from aios.abi.messages import ToolSpec
from aios.drivers.models.schema_grammar import json_rule

Piece = tuple[str, dict[str, Any]] | str
"""A call, by its tool's name and its arguments, or text."""


@dataclass(frozen=True)
class CallStyle:
    """One format. In `reply` and `call` a control token's letters stand between braces, as a format field."""

    openings: tuple[str, ...]
    """Tokens that open the first call; what follows them, to the reply's end, are calls."""
    others: tuple[str, ...]
    """Other tokens that stand in calls only."""
    forced: str
    """What a prompt ends with where a call must come."""
    is_braced: bool
    """Whether a brace at the reply's start opens a call, too."""
    reply: str
    """The grammar of a reply from its first call on, with `call` for one, in llguidance's dialect of Lark."""
    call: Callable[[str], tuple[str, str]]
    """What is written before and after the arguments in a call of the tool of this name, as grammar."""
    read: Callable[[str], list[Piece]]
    """Calls, and what is none, in a reply from its first call on."""

    def lark(self, tools: Sequence[ToolSpec], ids: Mapping[str, int]) -> str:
        """The grammar of a reply from its first call on, where it calls these tools."""
        tokens = {_field(name): f"<[{ids[name]}]>" for name in (*self.openings, *self.others) if name in ids}
        lines = [f"start: {self.reply.format_map(tokens)}"]
        lines.append(f"call: {' | '.join(f'call{index}' for index in range(len(tools)))}")
        for index, tool in enumerate(tools):
            before, after = (part.format_map(tokens) for part in self.call(json.dumps(tool.name)))
            lines.append(f"call{index}: {before} arguments{index} {after}")
            lines.append(f"arguments{index}: {json_rule({**tool.parameters, 'type': 'object'})}")
        return "\n".join(lines)


def style_of(template: str, ids: Mapping[str, int]) -> CallStyle | None:
    """The format that a chat template shows, in a vocabulary; None where it is none that is known here."""
    if "[TOOL_CALLS]" in template and "[TOOL_CALLS]" in ids:
        return MISTRAL_NAMED if "[ARGS]" in ids and "[ARGS]" in template else MISTRAL
    if "<tool_call>" in template and ids.keys() >= {"<tool_call>", "</tool_call>"}:
        return None if "<function=" in template else HERMES
    if '"parameters"' in template and '"name"' in template and "<|python_tag|>" in ids:
        return LLAMA
    return None


def _field(name: str) -> str:
    """A control token's name as a format field: its letters."""
    return "".join(letter for letter in name.replace("/", "end") if letter.isalpha())


def _literal(text: str) -> str:
    """A text in a grammar that is formatted later."""
    return json.dumps(text).replace("{", "{{").replace("}", "}}")


def _json_call(key: str) -> Callable[[str], tuple[str, str]]:
    def call(name: str) -> tuple[str, str]:
        return _literal(f'{{"name": {name}, "{key}": '), _literal("}")

    return call


def _named_call(name: str) -> tuple[str, str]:
    return f"{{TOOLCALLS}} {_literal(json.loads(name))} {{ARGS}}", ""


def _decoded(text: str) -> Any:
    """What a text says as JSON; None where it says nothing."""
    try:
        # Unlike the standard library it takes no lone surrogate and no NaN, which no frame could carry.
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def _call_of(said: Any, key: str) -> Piece | None:
    """A call from its JSON; None where it is none."""
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        return None
    arguments = said.get(key, {})
    return (said["name"], arguments) if isinstance(arguments, dict) else None


def _read_hermes(said: str) -> list[Piece]:
    pieces: list[Piece] = []
    for part in said.split("<tool_call>")[1:]:
        body, is_whole, after = part.partition("</tool_call>")
        call = _call_of(_decoded(body), "arguments") if is_whole else None
        if call is None:
            pieces.append("<tool_call>" + part)
        else:
            pieces += [call, after]
    return pieces


def _read_mistral(said: str) -> list[Piece]:
    items = _decoded(said.removeprefix("[TOOL_CALLS]"))
    calls = [_call_of(item, "arguments") for item in items] if isinstance(items, list) else [None]
    return [said] if None in calls else [call for call in calls if call is not None]


def _read_mistral_named(said: str) -> list[Piece]:
    pieces: list[Piece] = []
    for part in said.split("[TOOL_CALLS]")[1:]:
        name, _, text = part.partition("[ARGS]")
        arguments = _decoded(text)
        pieces.append((name, arguments) if name and isinstance(arguments, dict) else "[TOOL_CALLS]" + part)
    return pieces


def _read_llama(said: str) -> list[Piece]:
    return [_call_of(_decoded(said.removeprefix("<|python_tag|>")), "parameters") or said]


HERMES = CallStyle(
    openings=("<tool_call>",),
    others=("</tool_call>",),
    forced="<tool_call>",
    is_braced=False,
    reply='{toolcall} "\\n" call "\\n" {endtoolcall} ("\\n" {toolcall} "\\n" call "\\n" {endtoolcall})*',
    call=_json_call("arguments"),
    read=_read_hermes,
)
"""`<tool_call>` JSON `</tool_call>`, one after the other: Qwen 2.5 and 3, Hermes 2 and 3."""

MISTRAL = CallStyle(
    openings=("[TOOL_CALLS]",),
    others=(),
    forced="[TOOL_CALLS]",
    is_braced=False,
    reply='{TOOLCALLS} " "? "[" call (", " call)* "]"',
    call=_json_call("arguments"),
    read=_read_mistral,
)
"""`[TOOL_CALLS]` and a list of JSON: Mistral's models up to its tokenizer of the third version, and Nemo."""

MISTRAL_NAMED = CallStyle(
    openings=("[TOOL_CALLS]",),
    others=("[ARGS]",),
    forced="[TOOL_CALLS]",
    is_braced=False,
    reply="call+",
    call=_named_call,
    read=_read_mistral_named,
)
"""`[TOOL_CALLS]` name `[ARGS]` JSON, one after the other: Mistral's models since."""

LLAMA = CallStyle(
    openings=("<|python_tag|>",),
    others=(),
    forced='{"name": "',
    is_braced=True,
    reply="{pythontag}? call",
    call=_json_call("parameters"),
    read=_read_llama,
)
"""One call as JSON and nothing else: Llama 3.1 and later."""
