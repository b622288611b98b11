"""What the engine needs of a model on this machine: weights that compute logits, and a way of speaking.

Two of each: numpy with the embedded model's own template (`decoder`, `chat`), and torch with the tokenizer
and the template of a Hugging Face folder (`huggingface`). Owns the protocols and no code.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from aios.abi.messages import Delta, JsonSchema, Message, ToolSpec

if TYPE_CHECKING:
    from aios.drivers.models.schema_grammar import SchemaGrammars

Floats = NDArray[np.float32]
KeysValues = NDArray[Any]
"""Of some positions, in the host's memory: (layers, key heads then value heads, positions, head_dim). What
numpy has no type for (bfloat16) is there as the same bits in integers."""


class Row(Protocol):
    """The keys and values of one sequence."""

    def reserve(self, length: int, kept: int) -> None:
        """Make room for `length` positions and keep the first `kept`."""
        ...

    def copy(self, start: int, stop: int) -> KeysValues:
        """A copy of the positions from `start` up to `stop`."""
        ...

    def put(self, start: int, values: KeysValues) -> None:
        """Put back what `copy` gave, at `start`; keeps what stands before."""
        ...


class Dimensions(Protocol):
    """What there is to know of a model before anything is computed."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def max_position_embeddings(self) -> int:
        """The window: the most tokens of prompt and answer together."""
        ...


R = TypeVar("R", bound=Row)


class Model(Protocol[R]):
    """Weights with what it takes to run them. Not for two threads at once."""

    @property
    def config(self) -> Dimensions: ...

    @property
    def identity(self) -> str:
        """What tells this model from others: rows of one mean nothing to another."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether a row's numbers are known to depend on its own tokens alone, bit for bit."""
        ...

    def new_row(self) -> R: ...

    def decode(self, rows: Sequence[R], tokens: Sequence[int], lengths: Sequence[int]) -> Floats:
        """Feed one token to each row, whose first `lengths` positions are filled; logits by row.

        The caller may change the result, and the next call may.
        """
        ...

    def prefill(self, row: R, tokens: Sequence[int], start: int, *, last: bool) -> Floats | None:
        """Compute at most `BLOCK` tokens at `start`, a multiple of it; with `last` the logits after them."""
        ...


class Parser(Protocol):
    """Reads one reply token by token. Nothing a model says makes it raise: what is no call is text."""

    def feed(self, token: int) -> list[Delta]:
        """Take one token; give what became whole by it: text up to a whole character, or finished calls."""
        ...

    def cut(self) -> list[Delta]:
        """The reply goes no further: what is not whole goes out as the text it is."""
        ...

    def fork(self) -> "Parser":
        """The same place in the same reply, to go on from by itself."""
        ...


class Grammar(Protocol):
    """Follows one reply: which token may come next, so that calls and schemas are kept to."""

    @property
    def is_text(self) -> bool:
        """Whether what comes next is text, and no part of a call."""
        ...

    @property
    def is_quoted(self) -> bool:
        """Whether a string is written between quotes here."""
        ...

    @property
    def is_bound(self) -> bool:
        """Whether the reply would be wrong if it were cut here."""
        ...

    def is_bound_after(self, token: int) -> bool:
        """The same once `token` is taken."""
        ...

    def fork(self) -> "Grammar":
        """The same place in the same reply, to go on from by itself."""
        ...

    def hurried(self) -> "Grammar":
        """Such a fork, in which the reply may soon come to its end."""
        ...

    def feed(self, token: int) -> None:
        """Take the token that was chosen."""
        ...

    def restrict(self, logits: Floats) -> None:
        """Set the logits of all that may not come next to minus infinity."""
        ...

    def allowed(self) -> NDArray[np.bool_]:
        """For each token of the vocabulary, whether it may come next."""
        ...

    def leads(self, way: Sequence[int]) -> bool:
        """Whether it can go on with these tokens, also where `allowed` names others for the same text."""
        ...


class Chat(Protocol):
    """A tokenizer with the template of a conversation and the way in which a reply calls tools."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def bos_id(self) -> int: ...

    @property
    def end_id(self) -> int:
        """The token that ends a reply."""
        ...

    @property
    def spoken(self) -> Mapping[int, float]:
        """Control tokens that make sense in a reply, by how far from its end they leave it (`closing`)."""
        ...

    def surface(self, token: int) -> bytes:
        """The bytes that one token stands for; none for a control token."""
        ...

    def name(self, token: int) -> str:
        """The tokenizer's own name of a token."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """The tokens of plain text. Control tokens never come out."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; control tokens are silent, broken UTF-8 becomes replacement characters."""
        ...

    def encode(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), tool_choice: str = "auto"
    ) -> list[int]:
        """The prompt of a conversation, up to where the assistant is to speak.

        `tool_choice` `none` hides the tools; `required` opens a call, and so does a tool's name.
        """
        ...

    def begun(self, prompt: Sequence[int]) -> Sequence[int]:
        """What a prompt has already begun of the reply."""
        ...

    def parser(self, tools: Sequence[ToolSpec] = (), prefix_tokens: Sequence[int] = ()) -> Parser:
        """A parser for the reply to the prompt `prefix_tokens`, as `encode` gave it."""
        ...

    def grammar(
        self, grammars: "SchemaGrammars", tools: Sequence[ToolSpec], schema: JsonSchema | None = None
    ) -> Grammar:
        """What may come in a reply that may call `tools`, or must be JSON that fits `schema`.

        `InvalidArgument` for a schema that can't be met.
        """
        ...
