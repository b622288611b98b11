"""One reply of a Hugging Face model: which token may come next, and what the tokens say.

Owns where calls begin and what is text. Their formats are `calls`, their JSON is `schema_grammar`.
"""

import codecs
from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Delta, JsonSchema, ToolCall, ToolSpec
from aios.drivers.models.huggingface.calls import CallStyle
from aios.drivers.models.model import Floats
from aios.drivers.models.schema_grammar import SchemaGrammar, SchemaGrammars

if TYPE_CHECKING:
    from aios.drivers.models.huggingface.template import TemplateChat


class CallGrammar:
    """Follows one reply. Without tools no call is ever begun; with a `schema` text is JSON that fits it."""

    def __init__(
        self,
        chat: "TemplateChat",
        grammars: SchemaGrammars,
        tools: Sequence[ToolSpec],
        schema: JsonSchema | None = None,
    ) -> None:
        """`InvalidArgument` for a schema that can't be met, or tools where no way to call them is known."""
        self._chat = chat
        self._json = None if schema is None else grammars.strict(schema)
        """What is written here must fit; None in free text."""
        self._calls = None if not tools else _calls(chat, grammars, tools)
        """A reply from where it opens its first call; None where it may call nothing."""
        self._is_call = False
        self._is_begun = False
        openers = chat.openers if self._calls is not None else frozenset[int]()
        self._opening = chat.opens_reply if schema is None else chat.is_opener
        """Of each token, whether it opens a call as the first of the reply."""
        self._not = [token for token in chat.spoken if token != chat.end_id and token not in openers]
        """Tokens that never come in text."""

    @property
    def is_text(self) -> bool:
        return not self._is_call

    @property
    def is_quoted(self) -> bool:
        return self._json is not None

    @property
    def is_bound(self) -> bool:
        return self._json is not None

    def is_bound_after(self, token: int) -> bool:
        return self._opens(token) or (self.is_bound and token != self._chat.end_id)

    def fork(self) -> "CallGrammar":
        """The same place in the same reply, to go on from by itself."""
        twin = copy(self)
        twin._json = None if self._json is None else self._json.copy()
        return twin

    def hurried(self) -> "CallGrammar":
        """The same: what a call may leave out is left to the shortest way (`closing`)."""
        return self.fork()

    def feed(self, token: int) -> None:
        """Take the token that was chosen."""
        if token == self._chat.end_id:
            self._json, self._is_call = None, False
            return
        if self._calls is not None and self._opens(token):
            self._json, self._is_call = self._calls.copy(), True
        self._is_begun = True
        if self._json is not None:
            self._json.feed(token)

    def restrict(self, logits: Floats) -> None:
        """Set the logits of all that may not come next to minus infinity."""
        is_braced = self._calls is not None and not self._is_begun and self._chat.is_braced
        if self._json is None and not is_braced:
            logits[self._not] = -np.inf
        else:
            logits[: self._chat.vocab_size][~self.allowed()] = -np.inf

    def allowed(self) -> NDArray[np.bool_]:
        """For each token of the vocabulary, whether it may come next."""
        if self._json is None:
            mask = np.ones(self._chat.vocab_size, np.bool_)
        else:
            mask = self._json.allowed()
            mask[self._chat.end_id] = self._json.is_complete
        if not self._is_call:
            mask[self._not] = False
            if self._calls is not None and not self._is_begun:
                mask[self._opening] = self._calls.allowed()[self._opening]
        return mask

    def leads(self, way: Sequence[int]) -> bool:
        """Whether it can go on with these tokens, also where `allowed` names others for the same text."""
        if self._json is not None and self._is_begun:
            return self._json.leads(way) and (self._is_call or not {*self._not}.intersection(way))
        twin = self.fork()
        for token in way:
            if not twin.allowed()[token]:
                return False
            twin.feed(token)
        return True

    def _opens(self, token: int) -> bool:
        """Whether a token opens a call here."""
        if self._is_call or self._calls is None:
            return False
        if not self._is_begun:
            return bool(self._opening[token])
        return self._json is None and token in self._chat.openers


def _calls(chat: "TemplateChat", grammars: SchemaGrammars, tools: Sequence[ToolSpec]) -> SchemaGrammar:
    """A reply that calls `tools`. Parameters that can't be bound are left to whoever takes the call."""
    style = chat.style
    if style is None:
        raise InvalidArgument(
            "how this model calls tools is not known: its template shows no format of calls"
        )
    try:
        return grammars.lark(style.lark(tools, chat.ids))
    except InvalidArgument:
        bound = [tool if _can_bind(grammars, tool) else ToolSpec(tool.name) for tool in tools]
        return grammars.lark(style.lark(bound, chat.ids))


def _can_bind(grammars: SchemaGrammars, tool: ToolSpec) -> bool:
    try:
        grammars.argument({**tool.parameters, "type": "object"})
    except InvalidArgument:
        return False
    return True


class CallParser:
    """Reads a reply token by token. Nothing a model says makes it raise: what is no call is text."""

    def __init__(
        self, chat: "TemplateChat", style: CallStyle | None, number: str, begun: Sequence[int]
    ) -> None:
        """`style` None reads all as text. `number` tells this reply's calls from those of others."""
        self._chat, self._style, self._number = chat, style, number
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._call: list[int] | None = None
        """Tokens from the first call on."""
        self._is_begun = False
        self._num_calls = 0
        self._unreported = 0
        for token in begun:
            self.feed(token)
        self._unreported = 0

    def fork(self) -> "CallParser":
        """The same place in the same reply, to go on from by itself."""
        twin = copy(self)
        twin._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        twin._decoder.setstate(self._decoder.getstate())
        twin._call = None if self._call is None else [*self._call]
        return twin

    def feed(self, token: int) -> list[Delta]:
        """Take one token; give what became whole by it: text up to a whole character, or finished calls."""
        self._unreported += 1
        if token == self._chat.end_id:
            return self.cut()
        if self._call is None and self._opens(token):
            self._call = []
        is_first, self._is_begun = not self._is_begun, True
        if self._call is not None:
            self._call.append(token)
            return []
        surface = self._chat.surface(token)
        if is_first and self._chat.strips_first_space:
            surface = surface.removeprefix(b" ")
        return self._say(self._decoder.decode(surface))

    def cut(self) -> list[Delta]:
        """The reply goes no further: calls that are whole are calls, all else goes out as the text it is."""
        tokens, self._call = self._call, None
        if tokens is None or self._style is None:
            return self._say(self._decoder.decode(b"", True))
        deltas: list[Delta] = []
        for piece in self._style.read(self._chat.spelled(tokens)):
            if isinstance(piece, str):
                deltas += self._say("" if piece.isspace() else piece)
            else:
                self._num_calls += 1
                name, arguments = piece
                call_id = f"call_{self._number}_{self._num_calls}"
                deltas += self._say("", ToolCall(id=call_id, name=name, arguments=arguments))
        return deltas

    def _opens(self, token: int) -> bool:
        if self._style is None:
            return False
        return token in self._chat.openers or (not self._is_begun and bool(self._chat.opens_reply[token]))

    def _say(self, text: str, call: ToolCall | None = None) -> list[Delta]:
        if not text and call is None:
            return []
        num_tokens, self._unreported = self._unreported, 0
        return [Delta(text=text, tool_call=call, num_tokens=num_tokens)]
