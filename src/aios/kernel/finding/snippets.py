"""The piece of a text that is shown of it: where most of what was asked for stands together."""

import re
from itertools import islice

import numpy as np

from aios.kernel.shelves.lexicon import Lexicon
from aios.kernel.shelves.terms import MAX_WORDS, keys_of, word_key

LETTERS = 160
MAX_PLACES = 500
"""Where words of the question stand, so many places are looked at."""
MAX_DISTINCT = 2_000
"""Words of a text that are compared with those of a question that stand nowhere in it."""
MIN_STEM = 3
ENDING = 3
"""Letters at the end of a word in which its forms may differ."""

_WORD = re.compile(r"\w+")


def snippet(content: str, asked: str) -> str:
    """About `LETTERS` of `content`; its beginning where nothing like `asked` is in it."""
    start = _best(content, list(dict.fromkeys(_WORD.findall(asked.casefold())))[:MAX_WORDS])
    begin = max(0, start - LETTERS // 4)
    end = begin + LETTERS
    found = " ".join(content[begin:end].split())
    return ("…" if begin > 0 else "") + found + ("…" if end < len(content) else "")


def _best(content: str, words: list[str]) -> int:
    """Where the stretch with most of the words begins, or the word that is most like one of them."""
    places = _places(content, {word[: max(MIN_STEM, len(word) - ENDING)] for word in words})
    if not places and (alike := _most_alike(content, words)):
        places = _places(content, {alike})
    most, best = 0, 0
    for at, (start, _) in enumerate(places):
        near = {stem for place, stem in places[at : at + LETTERS // MIN_STEM] if place < start + LETTERS}
        if len(near) > most:
            most, best = len(near), start
    return best


def _places(content: str, stems: set[str]) -> list[tuple[int, str]]:
    """Where words begin with any of the stems, and with which."""
    if not stems:
        return []
    pattern = "|".join(re.escape(stem) for stem in sorted(stems, key=lambda stem: (-len(stem), stem)))
    found = re.finditer(rf"\b(?:{pattern})", content, re.IGNORECASE)
    return [(match.start(), match[0].casefold()) for match in islice(found, MAX_PLACES)]


def _most_alike(content: str, words: list[str]) -> str:
    """The word of a text that is most like any of these; empty where none is."""
    found = (match[0] for match in _WORD.finditer(content.casefold()))
    distinct = {word_key(word): word for word in islice(dict.fromkeys(islice(found, 50_000)), MAX_DISTINCT)}
    if not distinct or not words:
        return ""
    keys = np.sort(keys_of(list(distinct.values())))
    lexicon = Lexicon()
    lexicon.add(keys, "\n".join(distinct[key] for key in keys.tolist()))
    similar = [one for one in lexicon.similar(words) if len(one.keys)]
    if not similar:
        return ""
    return distinct[int(max(similar, key=lambda one: float(one.likeness[0])).keys[0])]
