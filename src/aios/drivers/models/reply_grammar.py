"""Which token may come next in a reply, so that every call is one of a tool in view, with its arguments, and
an answer that has to fit a schema does.

Owns where in a call the reply stands. A tool's name, an argument's name and a choice among given values are
written as the model's own tokenizer splits them; what else a schema binds is JSON, the rest is free text.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aios.abi.errors import InvalidArgument
from aios.abi.messages import JsonSchema, ToolSpec
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.schema_grammar import SchemaGrammar, SchemaGrammars
from aios.drivers.models.schema_text import (
    BINDING_TEXT,
    Writing,
    choices_of,
    items_of,
    num_items_of,
    plain,
    writing_of,
)

Part = Literal["text", "name", "key", "value"]

DEFINITIONS = ("$defs", "definitions")
"""Where a schema keeps what its parts refer to."""


class ReplyGrammar:
    """Follows one reply. Without tools no call is ever begun; with a `schema` text is JSON that fits it."""

    def __init__(
        self,
        chat: ChatFormat,
        grammars: SchemaGrammars,
        tools: Sequence[ToolSpec],
        schema: JsonSchema | None = None,
    ) -> None:
        """`InvalidArgument` for a schema that can't be met. Parameters have the form of JSON Schemas
        (`schema_form`).
        """
        self._chat, self._grammars = chat, grammars
        self._schemas = {tool.name: tool.parameters for tool in tools}
        self._call, self._arg, self._val, self._item, self._end = (
            chat.controls[f"<|{symbol}|>"] for symbol in ("call", "arg", "val", "item", "end")
        )
        self._controls = sorted({self._call, self._arg, self._val, self._item, self._end})
        self._part: Part = "text"
        self._written: list[int] = []
        self._json = None if schema is None else grammars.strict(schema)
        """What the text that is written here must fit; None where it is bound by nothing, or by choices."""
        self._is_quoted = schema is not None
        self._choices: dict[tuple[int, ...], str] | None = None
        """What may be written here, by its tokens; None where anything may."""
        self._fields: dict[str, JsonSchema] = {}
        self._missing: set[str] = set()
        self._definitions: dict[str, Any] = {}
        self._is_hurried = False
        self._is_open = False
        """Whether the call takes arguments of any name."""
        self._item_schema: JsonSchema | None = None
        """Of a list that is written item by item."""
        self._num_items, self._least_items, self._most_items = 0, 0, 0.0
        self._only: list[int] | None
        self._not: list[int]
        self._look()

    @property
    def is_text(self) -> bool:
        """Whether what comes next is text, and no part of a call."""
        return self._part == "text"

    @property
    def is_quoted(self) -> bool:
        """Whether a string is written between quotes here."""
        return self._is_quoted

    @property
    def is_bound(self) -> bool:
        """Whether the reply would be wrong if it were cut here."""
        return self._part != "text" or self._json is not None

    def is_bound_after(self, token: int) -> bool:
        """The same once `token` is taken."""
        return token == self._call or (self.is_bound and token != self._end)

    def fork(self) -> "ReplyGrammar":
        """The same place in the same reply, to go on from by itself."""
        twin = copy(self)
        twin._written, twin._missing, twin._fields = [*self._written], {*self._missing}, {**self._fields}
        twin._json = None if self._json is None else self._json.copy()
        return twin

    def hurried(self) -> "ReplyGrammar":
        """Such a fork, in which a call leaves out all that it may."""
        twin = self.fork()
        twin._fields = {key: schema for key, schema in self._fields.items() if key in self._missing}
        twin._is_hurried = True
        return twin

    def feed(self, token: int) -> None:
        """Take the token that was chosen."""
        if token == self._call:
            self._begin("name", self._schemas)
        elif token == self._end:
            self._begin("text", None)
        elif token == self._arg:
            self._begin("key", None if self._is_open else self._fields)
        elif token == self._val:
            self._open_value(self._said())
        elif token == self._item:
            assert self._item_schema is not None
            self._num_items += 1
            self._open_item(self._item_schema)
        else:
            self._written.append(token)
            if self._json is not None:
                self._json.feed(token)
                return
            if self._choices is None and len(self._written) > 1:
                return  # in free text every next token may be the same again
        self._look()

    def restrict(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of all that may not come next to minus infinity."""
        if self._json is not None:
            logits[: self._chat.vocab_size][~self._json_mask(self._json)] = -np.inf
        elif self._only is None:
            logits[self._not] = -np.inf
        else:
            kept = logits[self._only]
            logits[:] = -np.inf
            logits[self._only] = kept

    def allowed(self) -> NDArray[np.bool_]:
        """For each token of the vocabulary, whether it may come next."""
        if self._json is not None:
            return self._json_mask(self._json)
        out = np.full(self._chat.vocab_size, self._only is None)
        out[self._not if self._only is None else self._only] = self._only is not None
        return out

    def leads(self, way: Sequence[int]) -> bool:
        """Whether it can go on with these tokens, also where `allowed` names others for the same text."""
        if self._json is not None and self.is_text and self._call not in way:
            return self._json.leads(way)
        twin = self.fork()
        for token in way:
            if not twin._may_take(token):
                return False
            twin.feed(token)
        return True

    def _may_take(self, token: int) -> bool:
        if self._json is None:
            return token not in self._not if self._only is None else token in self._only
        if token in self._controls:
            return token in self._controls_after_json(self._json)
        return self._json.leads([token])

    def _json_mask(self, json: SchemaGrammar) -> NDArray[np.bool_]:
        mask = json.allowed()
        mask[self._controls] = False
        mask[list(self._controls_after_json(json))] = True
        return mask

    def _controls_after_json(self, json: SchemaGrammar) -> set[int]:
        if self._part == "text":
            ends = {self._end} if json.is_complete else set()
            return ends | {self._call} if self._schemas and not self._written else ends
        is_empty = not self._written and self._item_schema is not None and self._num_items == 1
        return self._after_value() if is_empty or json.is_complete else set()

    def _begin(self, part: Part, texts: Iterable[str] | None) -> None:
        self._part, self._written, self._json, self._item_schema = part, [], None, None
        self._choices = (
            None if texts is None else {tuple(self._chat.encode_text(text)): text for text in texts}
        )

    def _said(self) -> str:
        """The name that has been written."""
        if self._choices is None:
            return self._chat.decode(self._written)
        return self._choices[tuple(self._written)]

    def _open_call(self, name: str) -> None:
        schema: dict[str, Any] = self._schemas[name]
        self._fields = dict(schema.get("properties", {}))
        self._is_open = not self._fields
        self._missing = set(schema.get("required", ())) & self._fields.keys()
        if self._is_hurried:
            self._fields = {key: self._fields[key] for key in self._fields if key in self._missing}
        self._definitions = {key: schema[key] for key in DEFINITIONS if key in schema}

    def _open_value(self, key: str) -> None:
        schema = plain(self._fields.pop(key, {}))
        self._missing.discard(key)
        if writing_of(schema) == "list":
            self._num_items = 1
            self._least_items, self._most_items = num_items_of(schema)
            self._open_item(items_of(schema))
            self._item_schema = items_of(schema)
        else:
            self._open_item(schema)

    def _open_item(self, schema: JsonSchema) -> None:
        """A list's item, or a value that is no list."""
        item_schema = self._item_schema
        writing = writing_of(schema)
        texts = choices_of(schema) if writing == "choice" else None
        self._begin("value", None if texts is None else [f" {text}" for text in texts])
        self._item_schema = item_schema
        self._json, self._is_quoted = self._bound_value(schema, writing), writing == "json"

    def _bound_value(self, schema: JsonSchema, writing: Writing) -> SchemaGrammar | None:
        try:
            if writing == "json":
                return self._grammars.argument({**schema, **self._definitions})
            return self._grammars.text(schema) if writing == "text" and schema.keys() & BINDING_TEXT else None
        except InvalidArgument:
            return (
                None  # It is no JSON Schema, or beyond what can be bound: whoever takes the call checks it.
            )

    def _look(self) -> None:
        """Work out what may come next, where it is no JSON."""
        self._only = None
        if self._part == "text":
            after = {self._end, self._call} if self._schemas else {self._end}
            self._not = [token for token in self._controls if token not in after]
            return
        if self._choices is None:
            after = {self._val} if self._part == "key" else self._after_value()
            self._not = [token for token in self._controls if token not in after]
            return
        place, written = len(self._written), tuple(self._written)
        begun = [choice for choice in self._choices if choice[:place] == written]
        only = {choice[place] for choice in begun if len(choice) > place}
        if any(len(choice) == place for choice in begun):
            only |= self._after()
        self._only = sorted(only)

    def _after(self) -> set[int]:
        """What may follow a name, key or choice that is whole."""
        if self._part == "key":
            return {self._val}
        if self._part == "name":
            self._open_call(self._said())
            return self._after_call()
        return self._after_value()

    def _after_call(self) -> set[int]:
        """What may follow a call's name, or one of its arguments."""
        after = set() if self._missing else {self._call, self._end}
        if self._fields or self._is_open:
            after.add(self._arg)
        return after

    def _after_value(self) -> set[int]:
        """What may follow a value: of a list nothing else as long as it has too few items."""
        if self._item_schema is None:
            return self._after_call()
        num_items = self._num_items - (self._num_items == 1 and not self._written)
        after = self._after_call() if num_items >= self._least_items else set()
        if 0 < num_items < self._most_items:
            after.add(self._item)
        return after
