"""Which tokens may come next in JSON that has to fit a JSON Schema: valid by construction.

llguidance keeps the grammar and finds the tokens (derivatives of regular expressions under an Earley parser,
over a tree of the vocabulary). Owns how its tokenizer is made and what is refused. It knows no replies.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from aios.abi.errors import InvalidArgument
from aios.abi.messages import JsonSchema
from aios.drivers.models.model import Chat

Mask = NDArray[np.bool_]

_KEPT = 64
_WRITTEN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As the model writes JSON, and has read it in training: on one line."""
_LENIENT = {"lenient": True, "coerce_one_of": True}
"""What a schema says that can't be kept is left to whoever reads the text."""
_LARGEST = 1e15
"""Numbers without bounds get these, so that what reads the answer can hold them whole."""
_BEYOND = 1e300
"""Bounds from here on bind nothing more."""


class SchemaGrammar:
    """Follows one JSON text, token by token."""

    def __init__(self, matcher: LLMatcher, vocab_size: int, end_id: int) -> None:
        self._matcher, self._vocab_size, self._end_id = matcher, vocab_size, end_id

    @property
    def is_complete(self) -> bool:
        """Whether the text may end here."""
        return bool(self._matcher.is_accepting())

    def feed(self, token: int) -> None:
        """Take a token that `allowed` named."""
        if not self._matcher.consume_token(token):
            raise InvalidArgument(f"the answer can't go on by its schema: {_first_line(self._matcher)}")

    def allowed(self) -> Mask:
        """For each token of the vocabulary, whether it may come next. None may where the text must end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise InvalidArgument(f"the schema is too complex: {_first_line(self._matcher)}")
        return np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_)

    def leads(self, way: Sequence[int]) -> bool:
        """Whether it can go on with these tokens, also where `allowed` names others for the same text.

        The last may be the end of the reply.
        """
        if [*way] == [self._end_id]:
            return self.is_complete
        return bool(self._matcher.validate_tokens([*way]) == len(way))

    def copy(self) -> "SchemaGrammar":
        """The same place in the same text, to go on from by itself."""
        return SchemaGrammar(self._matcher.deep_copy(), self._vocab_size, self._end_id)


class SchemaGrammars:
    """The grammars of one model's tokens. Those of the last schemas are kept: each takes milliseconds."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._tokenizer: LLTokenizer | None = None
        self._made: OrderedDict[str, SchemaGrammar] = OrderedDict()

    def strict(self, schema: JsonSchema) -> SchemaGrammar:
        """JSON that fits `schema`. `InvalidArgument` where nothing does, or it says what can't be kept."""
        return self._grammar(schema, _whole, {})

    def argument(self, schema: JsonSchema) -> SchemaGrammar:
        """The same after one space, as an argument stands in a call.

        What it says that can't be kept is left to whoever takes the call: tools check their arguments.
        """
        return self._grammar(schema, _after_a_space, _LENIENT)

    def text(self, schema: JsonSchema) -> SchemaGrammar:
        """Text after one space, of the length and pattern that the schema of a string asks for."""
        return self._grammar(schema, _as_it_is, {})

    def lark(self, grammar: str) -> SchemaGrammar:
        """What a grammar of llguidance's dialect of Lark says. `InvalidArgument` as for `strict`."""
        return self._kept(grammar, lambda: LLMatcher.grammar_from_lark(grammar))

    def _grammar(
        self, schema: JsonSchema, written: Callable[[JsonSchema], str], options: dict[str, Any]
    ) -> SchemaGrammar:
        narrow = {**_narrowed(schema), "x-guidance": {**_WRITTEN, **options}}
        return self._kept(f"{written.__name__} {json.dumps(narrow)}", lambda: written(narrow))

    def _kept(self, key: str, written: Callable[[], str]) -> SchemaGrammar:
        if key not in self._made:
            matcher = LLMatcher(self._ready_tokenizer(), written(), log_level=0)
            if matcher.is_error():
                raise InvalidArgument(f"no answer can be made by this schema: {_first_line(matcher)}")
            self._made[key] = SchemaGrammar(matcher, self._chat.vocab_size, self._chat.end_id)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return self._made[key].copy()

    def _ready_tokenizer(self) -> LLTokenizer:
        if self._tokenizer is None:
            self._tokenizer = LLTokenizer(TokenizerWrapper(_Vocabulary(self._chat)))
        return self._tokenizer


def json_rule(schema: JsonSchema) -> str:
    """The right side of a rule for JSON that fits `schema`, as an argument of a call does (`argument`)."""
    narrow = {**_narrowed(schema), "x-guidance": {**_WRITTEN, **_LENIENT}}
    return f"%json {json.dumps(narrow)}"


class _Vocabulary:
    """A model's tokens in the form that llguidance reads; those that stand for nothing are special."""

    def __init__(self, chat: Chat) -> None:
        self._encode = chat.encode_text
        self.eos_token_id, self.bos_token_id = chat.end_id, chat.bos_id
        ids = range(chat.vocab_size)
        self.tokens = [chat.surface(token) or chat.name(token).encode() for token in ids]
        self.special_token_ids = [token for token in ids if not chat.surface(token)]

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


def _whole(schema: JsonSchema) -> str:
    # As text: of objects it takes no integer of more than 64 bits.
    return LLMatcher.grammar_from_json_schema(json.dumps(schema))


def _after_a_space(schema: JsonSchema) -> str:
    return LLMatcher.grammar_from_lark(f'start: " " value\nvalue: %json {json.dumps(schema)}')


def _as_it_is(schema: JsonSchema) -> str:
    most = schema.get("maxLength", "")
    length = f"/(?s:.{{{int(schema.get('minLength', 0))},{most and int(most)}}})/"
    pattern = schema.get("pattern")
    fitting = length if pattern is None else f"{length} & {_searched(pattern)}"
    return LLMatcher.grammar_from_lark(f'start: " " TEXT\nTEXT: {fitting}')


def _searched(pattern: str) -> str:
    """A pattern that may lie anywhere in a text, unless it says where, as one for the whole of the text."""
    inner = pattern.removeprefix("^").removesuffix("$").replace("/", "\\/")
    before, after = "" if pattern.startswith("^") else "(?s:.*)", "" if pattern.endswith("$") else "(?s:.*)"
    return f"/{before}({inner}){after}/"


def _narrowed(schema: Any, is_whole: bool = True) -> Any:
    """The schema with bounds for numbers that have none, and without other names where some are given.

    What fits it fits the schema, too. Of what other schemas complete (not `is_whole`) names are left open.
    """
    if isinstance(schema, list):
        return [_narrowed(part, is_whole) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _narrowed_part(key, value) for key, value in schema.items()}
    kinds = schema.get("type")
    if any(kind in ("integer", "number") for kind in (kinds if isinstance(kinds, list) else [kinds])):
        out |= _bounds(schema)
    if is_whole and isinstance(schema.get("properties"), dict) and not schema.keys() & _COMPLETED_BY:
        out["additionalProperties"] = False
    return out


def _narrowed_part(key: str, value: Any) -> Any:
    if key in _VALUES:
        return value
    if key in _BY_NAME and isinstance(value, dict):
        return {name: _narrowed(part) for name, part in value.items()}
    return _narrowed(value, key != "allOf")


_VALUES = {"enum", "const", "default", "examples"}
"""Keywords whose values are no schemas."""
_BY_NAME = {"properties", "patternProperties", "$defs", "definitions"}
"""Those that have schemas by name."""
_OPTIONS = {"allOf", "anyOf", "oneOf"}
_COMPLETED_BY = _OPTIONS | {"additionalProperties", "patternProperties", "minProperties", "$ref"}
_LOWER, _UPPER = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}


def _bounds(schema: Mapping[str, Any]) -> dict[str, float]:
    told = [schema[key] for key in (*_LOWER, *_UPPER) if isinstance(schema.get(key), int | float)]
    largest = max([_LARGEST, *(10 * abs(end) for end in told if abs(end) < _BEYOND)])
    lower = {} if schema.keys() & _LOWER else {"minimum": -largest}
    return lower if schema.keys() & _UPPER else {**lower, "maximum": largest}


def _first_line(matcher: LLMatcher) -> str:
    return str(matcher.get_error()).partition("\n")[0]
