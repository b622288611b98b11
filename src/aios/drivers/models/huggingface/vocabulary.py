"""What each token of a Hugging Face tokenizer stands for, in bytes.

Vocabularies are of bytes (GPT-2's, Llama 3's, Qwen's) or of sentencepiece's pieces (Llama 2's).
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from aios.abi.errors import Unavailable

_SPACE = "\u2581"  # how sentencepiece writes a space inside its pieces
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Vocabulary:
    """The tokens of a fast tokenizer of transformers, by their ids."""

    def __init__(self, tokenizer: Any) -> None:
        """`Unavailable` for a vocabulary of neither kind."""
        decoder = _decoder_of(tokenizer)
        self.strips_first_space = '"Strip"' in decoder
        """Whether a text's first piece has a space that is not the text's."""
        self.ids: Mapping[str, int] = tokenizer.get_vocab()
        self.size = 1 + max(self.ids.values())
        self.names = [f"<token {token}>" for token in range(self.size)]
        for name, token in self.ids.items():
            self.names[token] = name
        added = tokenizer.added_tokens_decoder
        self.special = frozenset(token for token, about in added.items() if about.special)
        """Those that text never means."""
        table = _table(decoder)
        known = set(self.ids.values())
        self.surfaces = [
            _bytes(name, table) if token in known else b"" for token, name in enumerate(self.names)
        ]
        for token, about in added.items():
            self.names[token] = about.content
            self.surfaces[token] = b"" if about.special else about.content.encode()


def _decoder_of(tokenizer: Any) -> str:
    """How a tokenizer turns tokens into text, as JSON."""
    return json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"], ensure_ascii=False)


def _table(decoder: str) -> Mapping[str, int] | None:
    """The byte of each character of a byte-level vocabulary; None for one of sentencepiece's kind."""
    if '"ByteLevel"' in decoder:
        return {character: byte for byte, character in enumerate(_byte_characters())}
    if _SPACE in decoder:
        return None
    raise Unavailable("the tokenizer's vocabulary is neither of bytes nor of sentencepiece's pieces")


def _byte_characters() -> list[str]:
    """The character that stands for each byte: itself where it can be seen, else one from 256 on in order."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


def _bytes(name: str, table: Mapping[str, int] | None) -> bytes:
    if table is not None:
        return b"".join(bytes([table[c]]) if c in table else c.encode() for c in name)
    byte = _BYTE.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.replace(_SPACE, " ").encode()
