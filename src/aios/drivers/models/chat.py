"""The embedded model's chat template: messages and tools to tokens, and tokens back to text and calls.

Owns the tokenizer and the control symbols. It knows nothing about weights, sampling or what tools do.
"""

import codecs
import re
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aios.abi.messages import Delta, JsonSchema, Message, ToolCall, ToolSpec
from aios.drivers.models.schema_text import read_value, tool_line, value_texts

if TYPE_CHECKING:
    from aios.drivers.models.reply_grammar import ReplyGrammar
    from aios.drivers.models.schema_grammar import SchemaGrammars

CONTROLS = (
    *("<|system|>", "<|tools|>", "<|user|>", "<|assistant|>", "<|tool|>"),
    *("<|call|>", "<|arg|>", "<|val|>", "<|item|>", "<|end|>"),
)
"""Symbols that mark the parts of a conversation; text can never encode to one of them."""

_SPOKEN = {"<|end|>": 0.0, "<|val|>": 1.0, "<|arg|>": 6.0, "<|item|>": 7.0, "<|call|>": 91.0}
"""Those that make sense in an answer, by how far from its end they leave it (`closing`)."""

_SPACE = "\u2581"  # how sentencepiece writes a space inside its pieces
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class ChatFormat:
    """Turns conversations into prompts for the embedded model and gives parsers for its replies."""

    def __init__(self, tokenizer_path: Path | str) -> None:
        from sentencepiece import SentencePieceProcessor

        self._model = SentencePieceProcessor(model_file=str(tokenizer_path))
        pieces = [self._model.id_to_piece(i) for i in range(self._model.get_piece_size())]
        self.vocab_size = len(pieces)
        self.controls = {symbol: pieces.index(symbol) for symbol in CONTROLS}
        self.bos_id, self.pad_id = pieces.index("<s>"), pieces.index("<pad>")
        self.end_id = self.controls["<|end|>"]
        self.spoken = {self.controls[symbol]: rank for symbol, rank in _SPOKEN.items()}
        silent = {*self.controls.values(), self.bos_id, self.pad_id, pieces.index("<unk>")}
        self._surface = [b"" if i in silent else _piece_bytes(piece) for i, piece in enumerate(pieces)]
        self._space_sign = [pieces.index(f"<0x{byte:02X}>") for byte in _SPACE.encode()]

    def encode_text(self, text: str) -> list[int]:
        """The tokens of plain text. `decode` gives the same text back; control symbols never come out."""
        parts = text.encode("utf-8", "replace").decode().split(_SPACE)
        tokens: list[int] = self._model.encode(parts[0])
        for part in parts[1:]:
            # A literal space sign would come back as a space, so it is spelt in bytes.
            tokens += [*self._space_sign, *self._model.encode(part)]
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; control symbols are silent, broken UTF-8 becomes replacement characters."""
        return b"".join(self._surface[token] for token in tokens).decode("utf-8", "replace")

    def surface(self, token: int) -> bytes:
        """The bytes that one token stands for; none for a control symbol."""
        return self._surface[token]

    def name(self, token: int) -> str:
        """The tokenizer's own name of a token."""
        piece: str = self._model.id_to_piece(token)
        return piece

    def encode(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), tool_choice: str = "auto"
    ) -> list[int]:
        """The prompt of a conversation, up to where the assistant is to speak.

        `tool_choice` `none` hides the tools; `required` opens a call, and a tool's name opens a call of it.
        """
        out = self.encode_head(_system_text(messages), () if tool_choice == "none" else tools)
        for message in _in_call_order(_merge_users([m for m in messages if m.role != "system"])):
            out += self.encode_turn(message)
        out.append(self.controls["<|assistant|>"])
        if tool_choice not in ("auto", "none"):
            out.append(self.controls["<|call|>"])
            if tool_choice != "required":
                out += self.encode_text(tool_choice)
        return out

    def encode_head(self, system: str, tools: Sequence[ToolSpec]) -> list[int]:
        """What stands before the first turn: the system text and one line for each tool."""
        out = [self.bos_id]
        if system:
            out += [self.controls["<|system|>"], *self.encode_text(system), self.end_id]
        if tools:
            lines = "\n".join(tool_line(tool) for tool in tools)
            out += [self.controls["<|tools|>"], *self.encode_text(lines), self.end_id]
        return out

    def encode_turn(self, message: Message) -> list[int]:
        """One user, assistant or tool message with its symbols around it."""
        out = [self.controls[f"<|{message.role}|>"], *self.encode_text(message.text)]
        for call in message.tool_calls:
            out += [self.controls["<|call|>"], *self.encode_text(call.name)]
            for key, value in call.arguments.items():
                out += [self.controls["<|arg|>"], *self.encode_text(key), self.controls["<|val|>"]]
                out += self._encode_value(value)
        return [*out, self.end_id]

    def _encode_value(self, value: Any) -> list[int]:
        out: list[int] = []
        for index, text in enumerate(value_texts(value)):
            out += [self.controls["<|item|>"]] if index else []
            out += self.encode_text(" " + text)
        return out

    def begun(self, prompt: Sequence[int]) -> Sequence[int]:
        """What a prompt has already begun of the reply: the tokens after the last assistant's symbol."""
        return prompt[_last_index(prompt, self.controls["<|assistant|>"]) + 1 :]

    def parser(self, tools: Sequence[ToolSpec] = (), prefix_tokens: Sequence[int] = ()) -> "ReplyParser":
        """A parser for the reply to the prompt `prefix_tokens`, as `encode` gave it.

        Calls are numbered on from the calls in the prompt, and an opened call is taken up.
        """
        return ReplyParser(self, tools, prefix_tokens)

    def grammar(
        self, grammars: "SchemaGrammars", tools: Sequence[ToolSpec], schema: JsonSchema | None = None
    ) -> "ReplyGrammar":
        """What may come in a reply that may call `tools`, or must be JSON that fits `schema`."""
        # Imported here: training reads this module, and has no llguidance.
        from aios.drivers.models.reply_grammar import ReplyGrammar

        return ReplyGrammar(self, grammars, tools, schema)


class ReplyParser:
    """Reads a reply token by token. Nothing a model says makes it raise: what is no call is text."""

    def __init__(self, chat: ChatFormat, tools: Sequence[ToolSpec], prefix_tokens: Sequence[int]) -> None:
        self._chat = chat
        self._schemas = {tool.name: tool.parameters for tool in tools}
        self._symbols = {token: symbol for symbol, token in chat.controls.items()}
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open: list[int] | None = None  # tokens of the call being read, without its first symbol
        self._unreported = 0
        opened = chat.begun(prefix_tokens)
        before = prefix_tokens[: len(prefix_tokens) - len(opened)]
        self._next_call = 1 + sum(token == chat.controls["<|call|>"] for token in before)
        for token in opened:
            self.feed(token)
        self._unreported = 0

    def feed(self, token: int) -> list[Delta]:
        """Take one token; give what became whole by it: text up to a whole character, or finished calls."""
        self._unreported += 1
        symbol = self._symbols.get(token)
        if symbol in ("<|call|>", "<|end|>"):
            out = self._close()
            self._open = [] if symbol == "<|call|>" else None
            return out
        if self._open is not None:
            self._open.append(token)
            return []
        return self._say(self._decoder.decode(self._chat.surface(token)))

    def cut(self) -> list[Delta]:
        """The reply goes no further: a call or a character that is not whole goes out as the text it is."""
        tokens, self._open = self._open, None
        return self._close() if tokens is None else self._say(self._chat.decode(tokens))

    def fork(self) -> "ReplyParser":
        """The same place in the same reply, to go on from by itself."""
        twin = copy(self)
        twin._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        twin._decoder.setstate(self._decoder.getstate())
        twin._open = None if self._open is None else [*self._open]
        return twin

    def _say(self, text: str, call: ToolCall | None = None) -> list[Delta]:
        if not text and call is None:
            return []
        num_tokens, self._unreported = self._unreported, 0
        return [Delta(text=text, tool_call=call, num_tokens=num_tokens)]

    def _close(self) -> list[Delta]:
        if self._open is None:
            return self._say(self._decoder.decode(b"", True))
        tokens, self._open = self._open, None
        name, arguments = self._read_call(tokens)
        if not name:
            return self._say(self._chat.decode(tokens))
        call = ToolCall(id=f"call_{self._next_call}", name=name, arguments=arguments)
        self._next_call += 1
        return self._say("", call)

    def _read_call(self, tokens: list[int]) -> tuple[str, dict[str, Any]]:
        head, *parts = _split(tokens, self._chat.controls["<|arg|>"])
        name = self._chat.decode(head).strip()
        fields = self._schemas.get(name, {}).get("properties", {})
        arguments = {}
        for part in parts:
            key_tokens, *values = _split(part, self._chat.controls["<|val|>"])
            key = self._chat.decode(key_tokens).strip()
            items = [[]] if not values else _split(values[0], self._chat.controls["<|item|>"])
            arguments[key] = read_value([self._chat.decode(item) for item in items], fields.get(key, {}))
        return name, arguments


def _piece_bytes(piece: str) -> bytes:
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(_SPACE, " ").encode()


def _split(tokens: Sequence[int], at: int) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token == at:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _last_index(tokens: Sequence[int], token: int) -> int:
    for index in range(len(tokens) - 1, -1, -1):
        if tokens[index] == token:
            return index
    return len(tokens) - 1


def _system_text(messages: Sequence[Message]) -> str:
    return "\n\n".join(message.text for message in messages if message.role == "system" and message.text)


def _merge_users(messages: Sequence[Message]) -> list[Message]:
    """Users who speak twice in a row are one turn, as in all that the model has read."""
    out: list[Message] = []
    for message in messages:
        if out and message.role == out[-1].role == "user":
            out[-1] = Message(role="user", content=out[-1].text + "\n" + message.text)
        else:
            out.append(message)
    return out


def _in_call_order(messages: Sequence[Message]) -> list[Message]:
    """Results in the order of their calls: the template has no ids, so the order says which is which."""
    out: list[Message] = []
    order: dict[str | None, int] = {}
    results: list[Message] = []
    for message in messages:
        if message.role == "tool":
            results.append(message)
            continue
        out += sorted(results, key=lambda m: order.get(m.tool_call_id, len(order)))
        results = []
        order = {call.id: index for index, call in enumerate(message.tool_calls)}
        out.append(message)
    return out + sorted(results, key=lambda m: order.get(m.tool_call_id, len(order)))
