"""The way of speaking of a Hugging Face folder: its tokenizer, its chat template, its way of calling tools.

transformers writes prompts. Owns what goes into a template and what no text may forge: a message, tool or
argument that spells a control token has a zero-width space put into it, so that it stays text.
"""

import json
import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import numpy as np

from aios.abi.errors import InvalidArgument, Unavailable
from aios.abi.messages import JsonSchema, Message, ToolSpec
from aios.drivers.models.huggingface.calls import style_of
from aios.drivers.models.huggingface.family import ModelConfig
from aios.drivers.models.huggingface.reply import CallGrammar, CallParser
from aios.drivers.models.huggingface.vocabulary import Vocabulary
from aios.drivers.models.schema_grammar import SchemaGrammars

_BREAK = "\u200b"
_ID_CHARS = 9
"""Mistral's templates take ids of calls of just so many letters and digits."""


class TemplateChat:
    """Turns conversations into prompts and gives grammars and parsers for the replies."""

    def __init__(self, tokenizer: Any, ends: Sequence[int]) -> None:
        """`Unavailable` for a tokenizer whose tokens can't be read, or that has no chat template."""
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary = Vocabulary(tokenizer)
        try:
            template = tokenizer.get_chat_template(tools=[{}])
        except ValueError:
            raise Unavailable("the tokenizer has no chat template") from None
        self.vocab_size, self.ids = vocabulary.size, vocabulary.ids
        self.strips_first_space = vocabulary.strips_first_space
        self.ends, self.end_id = tuple(ends), ends[0]
        self.bos_id = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else self.end_id
        self.style = style = style_of(template, self.ids)
        self.is_braced = style is not None and style.is_braced
        openings, others = (style.openings, style.others) if style is not None else ((), ())
        self.openers = frozenset(self.ids[name] for name in openings)
        self.spoken = {self.end_id: 0.0} | {self.ids[name]: 1.0 for name in others}
        self.spoken |= dict.fromkeys(self.openers, 91.0)
        silent = {*ends, *self.spoken}
        self._surfaces = [b"" if i in silent else text for i, text in enumerate(vocabulary.surfaces)]
        self.is_opener = np.isin(np.arange(self.vocab_size), list(self.openers))
        """Of each token, whether it opens a call wherever text may stand,"""
        is_brace = np.array([surface.startswith(b"{") for surface in self._surfaces])
        self.opens_reply = self.is_opener | (is_brace & self.is_braced)
        """and whether it does as the first of a reply."""
        controls = {vocabulary.names[token] for token in vocabulary.special | silent}
        self._controls = re.compile("|".join(re.escape(name) for name in sorted(controls, key=len)[::-1]))
        self._forced = [] if style is None else self._tokens(style.forced)

    @classmethod
    def load(cls, folder: Path, config: ModelConfig) -> "TemplateChat":
        """Read the tokenizer in `folder`. `Unavailable` where there is none that can be used."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise Unavailable(f"the tokenizer in {folder} can't be used: {error}") from None
        if not tokenizer.is_fast:
            raise Unavailable(f"the tokenizer in {folder} has no tokenizer.json")
        return cls(tokenizer, ends_of(folder, config, tokenizer.eos_token_id))

    def surface(self, token: int) -> bytes:
        """The bytes that one token stands for; none for a control token."""
        return self._surfaces[token]

    def name(self, token: int) -> str:
        """The tokenizer's own name of a token."""
        return self._vocabulary.names[token]

    def encode_text(self, text: str) -> list[int]:
        """The tokens of plain text. Control tokens never come out."""
        return self._tokens(self._unforged(text))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; control tokens are silent, broken UTF-8 becomes replacement characters."""
        return b"".join(map(self.surface, tokens)).decode("utf-8", "replace")

    def spelled(self, tokens: Iterable[int]) -> str:
        """The same with control tokens by their names."""
        parts = (self.surface(token) or self.name(token).encode() for token in tokens)
        return b"".join(parts).decode("utf-8", "replace")

    def encode(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), tool_choice: str = "auto"
    ) -> list[int]:
        """The prompt of a conversation, up to where the assistant is to speak.

        `tool_choice` `none` hides the tools; `required` or a tool's name opens a call. `InvalidArgument` for
        what the template refuses.
        """
        if tool_choice == "none":
            tools = ()
        conversation = self._unforged(_conversation(messages))
        try:
            text = self._tokenizer.apply_chat_template(
                conversation,
                tools=self._unforged([_function(tool) for tool in tools]) or None,
                add_generation_prompt=True,
                tokenize=False,
            )
        except jinja2.TemplateError as error:
            raise InvalidArgument(f"the model's template does not take these messages: {error}") from None
        is_forced = tool_choice not in ("auto", "none")
        return [*self._tokens(text), *(self._forced if is_forced else ())]

    def begun(self, prompt: Sequence[int]) -> Sequence[int]:
        """What a prompt has already begun of the reply: a call that has to come, or nothing."""
        length = len(self._forced)
        return self._forced if length and list(prompt[-length:]) == self._forced else []

    def parser(self, tools: Sequence[ToolSpec] = (), prefix_tokens: Sequence[int] = ()) -> CallParser:
        """A parser for the reply to the prompt `prefix_tokens`: without tools it reads text only."""
        number = blake2b(np.array(prefix_tokens, np.int32).tobytes(), digest_size=4).hexdigest()
        return CallParser(self, self.style if tools else None, number, self.begun(prefix_tokens))

    def grammar(
        self, grammars: SchemaGrammars, tools: Sequence[ToolSpec], schema: JsonSchema | None = None
    ) -> CallGrammar:
        """What may come in a reply that may call `tools`, or must be JSON that fits `schema`."""
        return CallGrammar(self, grammars, tools, schema)

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def _unforged(self, value: Any) -> Any:
        """The same with every control token's name in a text broken up."""
        match value:
            case str():
                return self._controls.sub(lambda found: found[0][0] + _BREAK + found[0][1:], value)
            case list():
                return [self._unforged(item) for item in value]
            case dict():
                return {self._unforged(key): self._unforged(item) for key, item in value.items()}
            case _:
                return value


def ends_of(folder: Path, config: ModelConfig, said: int | None) -> list[int]:
    """The tokens that end a reply, the tokenizer's own first. `Unavailable` where none is named."""
    try:
        whole = json.loads((folder / "generation_config.json").read_text("utf-8"))
        found = whole.get("eos_token_id", config.eos_token_id)
    except (OSError, ValueError):
        found = config.eos_token_id
    others = [found] if isinstance(found, int) else list(found or ())
    ends = list(dict.fromkeys([*([said] if said is not None else ()), *others]))
    if not ends:
        raise Unavailable(f"the model in {folder} names no token that ends a reply")
    return ends


def _function(tool: ToolSpec) -> dict[str, Any]:
    return {"type": "function", "function": msgspec.to_builtins(tool) | {"description": tool.description}}


def _conversation(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates take them: one system message at the beginning, no user twice in a row."""
    system = "\n\n".join(message.text for message in messages if message.role == "system" and message.text)
    out: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    ids: dict[str | None, str] = {}
    for message in messages:
        if message.role == "user" and out and out[-1]["role"] == "user":
            out[-1]["content"] += "\n" + message.text
        elif message.role != "system":
            out.append(_turn(message, ids))
    return out


def _turn(message: Message, ids: dict[str | None, str]) -> dict[str, Any]:
    """One message. `ids` maps the ids of calls to those that every template takes."""
    turn: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.role == "tool":
        turn["tool_call_id"] = ids.setdefault(message.tool_call_id, _short(message.tool_call_id or ""))
        if message.name:
            turn["name"] = message.name
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "type": "function",
                "id": ids.setdefault(call.id, _short(call.id)),
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return turn


def _short(call_id: str) -> str:
    return blake2b(call_id.encode(), digest_size=8).hexdigest()[:_ID_CHARS]
