"""Which token may come next in a reply, so that every call is one of a tool in view, with its arguments.

Owns where in a call the reply stands. A tool's name, an argument's name and a choice among given values are
written as the model's own tokenizer splits them; other values are free text.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aios.abi.messages import JsonSchema, ToolSpec
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.schema_text import choices_of, is_list, items_of

Part = Literal["text", "name", "key", "value"]


class CallGrammar:
    """Follows one reply. Without tools no call is ever begun."""

    def __init__(self, chat: ChatFormat, tools: Sequence[ToolSpec]) -> None:
        """What it raises on parameters that are no JSON Schema, here or later, is Python's own."""
        self._chat = chat
        self._schemas = {tool.name: tool.parameters for tool in tools}
        self._call, self._arg, self._val, self._item, self._end = (
            chat.controls[f"<|{symbol}|>"] for symbol in ("call", "arg", "val", "item", "end")
        )
        self._controls = {self._call, self._arg, self._val, self._item, self._end}
        self._part: Part = "text"
        self._written: list[int] = []
        self._choices: list[list[int]] | None = None
        """What may be written here, as tokens; None where anything may."""
        self._fields: dict[str, JsonSchema] = {}
        self._missing: set[str] = set()
        self._is_open = False
        """Whether the call takes arguments of any name."""
        self._is_list = False
        self._only: list[int] | None
        self._not: list[int]
        self._look()

    @property
    def is_text(self) -> bool:
        """Whether what comes next is text, and no part of a call."""
        return self._part == "text"

    def feed(self, token: int) -> None:
        """Take the token that was chosen."""
        if token == self._call:
            self._begin("name", self._schemas)
        elif token == self._end:
            self._begin("text", None)
        elif token == self._arg:
            self._begin("key", None if self._is_open else self._fields)
        elif token == self._val:
            self._open_value(self._chat.decode(self._written))
        elif token == self._item:
            self._written = []
        else:
            self._written.append(token)
            if self._choices is None:
                return  # in free text every next token may be the same again
        self._look()

    def restrict(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of all that may not come next to minus infinity."""
        if self._only is None:
            logits[self._not] = -np.inf
        else:
            kept = logits[self._only]
            logits[:] = -np.inf
            logits[self._only] = kept

    def _begin(self, part: Part, texts: Iterable[str] | None) -> None:
        self._part, self._written = part, []
        self._choices = None if texts is None else [self._chat.encode_text(text) for text in texts]

    def _open_call(self, name: str) -> None:
        schema: dict[str, Any] = self._schemas[name]
        self._fields = dict(schema.get("properties", {}))
        self._is_open = not self._fields
        self._missing = set(schema.get("required", ())) & self._fields.keys()

    def _open_value(self, key: str) -> None:
        schema = self._fields.pop(key, {})
        self._missing.discard(key)
        self._is_list = is_list(schema)
        texts = choices_of(items_of(schema) if self._is_list else schema)
        self._begin("value", None if texts is None else [f" {text}" for text in texts])

    def _look(self) -> None:
        """Work out what may come next."""
        self._only = None
        if self._part == "text":
            after = {self._end, self._call} if self._schemas else {self._end}
            self._not = sorted(self._controls - after)
            return
        if self._choices is None:
            after = {self._val} if self._part == "key" else self._after_value()
            self._not = sorted(self._controls - after)
            return
        place = len(self._written)
        begun = [choice for choice in self._choices if choice[:place] == self._written]
        only = {choice[place] for choice in begun if len(choice) > place}
        if any(len(choice) == place for choice in begun):
            only |= self._after()
        self._only = sorted(only)

    def _after(self) -> set[int]:
        """What may follow a name, key or choice that is whole."""
        if self._part == "key":
            return {self._val}
        if self._part == "name":
            self._open_call(self._chat.decode(self._written))
        return self._after_value()

    def _after_value(self) -> set[int]:
        after = set() if self._missing else {self._call, self._end}
        if self._fields or self._is_open:
            after.add(self._arg)
        if self._part == "value" and self._is_list:
            after.add(self._item)
        return after
