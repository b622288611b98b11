"""The words that tasks are made from, a `Lexicon` for each split; the two share none that carries meaning."""

import random
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


BLENDED = (
    "people",
    "cities",
    "nouns",
    "adjectives",
    "verbs",
    "attributes",
    "folders",
    "extensions",
    "syllables",
    "fields",
)
"""The lists that `blended` changes: words that a task names, not those that make its sentences."""


@cache
def lexicon(split: Split) -> Lexicon:
    """The words of a split, read from the file of its name; a text there is a list of words."""
    data: dict[str, Any] = tomllib.loads(Path(__file__).with_name(f"{split}.toml").read_text("utf-8"))
    lists = {name: value.split() if isinstance(value, str) else value for name, value in data.items()}
    return msgspec.convert(lists, Lexicon)


def blended(words: Lexicon, rng: random.Random) -> Lexicon:
    """A lexicon in which a share of the words is new: the front of one and the end of another.

    None of them is a word that is kept out of training. Who learns from such words has to copy and compare
    them, for there are too many to know by heart.
    """
    share = rng.choice((0.0, 0.3, 0.6, 0.9))
    lists: dict[str, tuple[str, ...]] = {name: getattr(words, name) for name in BLENDED}
    made = {name: dict.fromkeys(_blend(these, share, rng)) for name, these in lists.items()}
    changed = {name: tuple(w for w in these if w not in _kept_out()) for name, these in made.items()}
    return msgspec.structs.replace(words, **changed)


@cache
def _kept_out() -> frozenset[str]:
    """What `blended` may not make: the words that measure."""
    return frozenset(word for name in BLENDED for word in getattr(lexicon("heldout"), name))


def _blend(words: tuple[str, ...], share: float, rng: random.Random) -> list[str]:
    return [
        word[: rng.randint(1, len(word))] + other[rng.randrange(len(other)) :].lower() if new else word
        for word, other, new in zip(
            words, rng.choices(words, k=len(words)), (rng.random() < share for _ in words), strict=True
        )
    ]
