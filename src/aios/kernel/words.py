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


def match_any(owner: str, text: str) -> str | None:
    """FTS5 for the owner's entries that hold any of the text's words; None where it has none."""
    words = dict.fromkeys(_WORD.findall(text.casefold()))
    if not words:
        return None
    quoted = " OR ".join(f'"{word}"' for word in list(words)[:MAX_WORDS])
    return f"owner : {owner_word(owner)} AND body : ({quoted})"
