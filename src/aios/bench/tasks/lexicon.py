"""The words that tasks are made from, one `Lexicon` for each split: no list of one shares with the other's."""

from msgspec import Struct


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
