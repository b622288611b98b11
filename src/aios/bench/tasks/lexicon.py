"""The words that tasks are made from, a `Lexicon` for each split; the two share none that carries meaning."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

Split = Literal["train", "heldout"]
"""`train` for making dialogues to learn from, `heldout` for measuring."""


class Lexicon(Struct, frozen=True):
    """Words, and templates by what they ask. In a template `[a|b]` is a choice and `{name}` a blank."""

    people: tuple[str, ...]
    cities: tuple[str, ...]
    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    verbs: tuple[str, ...]
    attributes: tuple[str, ...]
    folders: tuple[str, ...]
    extensions: tuple[str, ...]
    syllables: tuple[str, ...]
    fields: tuple[str, ...]
    modes: tuple[tuple[str, ...], ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]
    systems: tuple[str, ...]
    sentences: tuple[str, ...]
    missing: tuple[str, ...]
    phrases: dict[str, tuple[str, ...]]


@cache
def lexicon(split: Split) -> Lexicon:
    """The words of a split, read from the file of its name; a text there is a list of words."""
    data: dict[str, Any] = tomllib.loads(Path(__file__).with_name(f"{split}.toml").read_text("utf-8"))
    lists = {name: value.split() if isinstance(value, str) else value for name, value in data.items()}
    return msgspec.convert(lists, Lexicon)
