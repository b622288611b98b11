"""Words as SQLite's full-text index sees them: whose they are, and what a search looks for.

Owns the rule that what a user types is never search syntax; knows no table.
"""

import re
from hashlib import blake2b

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""Whole words, without accents, English endings cut off."""

MAX_WORDS = 32
"""Words of a search that are looked for; more would cost much and find little."""

_WORD = re.compile(r"\w+")


def owner_word(owner: str) -> str:
    """One word that stands for an owner in an index. It ends in a digit, so that no ending is cut off it."""
    return f"o{blake2b(owner.encode(), digest_size=12).hexdigest()}0"


def words_of(text: str) -> list[str]:
    """The distinct words of a text that a search looks for, in their order."""
    return list(dict.fromkeys(_WORD.findall(text.casefold())))[:MAX_WORDS]


def match_any(owner: str, text: str, *, is_prefix: bool = False) -> str | None:
    """FTS5 for the owner's entries that hold any of the text's words; None where it has none.

    `is_prefix` takes words that begin so as well.
    """
    star = " *" if is_prefix else ""
    quoted = " OR ".join(f'"{word}"{star}' for word in words_of(text))
    return f"owner : {owner_word(owner)} AND body : ({quoted})" if quoted else None
