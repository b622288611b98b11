"""One conversation being made up: its random draws, its words, and what exists when it starts."""

import random
import re
from collections.abc import Callable, Generator, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from msgspec import Struct

from aios.bench.tasks.lexicon import Lexicon

Wish = tuple[str, dict[str, Any]]
"""A call that the perfect assistant makes: a tool's name and its arguments."""


class Answer(Struct, frozen=True):
    """What the perfect assistant says at the end of a turn, and the facts that any good answer names."""

    text: str
    facts: tuple[str, ...] = ()


Script = Generator[list[Wish], list[str], Answer]
"""A perfect assistant for one turn: it yields calls, is sent their results, and returns its answer."""


class Turn(Struct, frozen=True):
    """What a user says, and how it is answered best."""

    kind: str
    user: str
    script: Callable[[], Script]


_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_BLANK = re.compile(r"(\{\w+\})")
_QUOTES = ('"{}"', "'{}'", "{}", "{}", "`{}`", "“{}”", "«{}»", '"{}"')
_CODES = (
    "AA-000",
    "AAA-000",
    "A0A0A0",
    "00-AA",
    "AA000",
    "#0000",
    "A-00",
    "000/00",
    "aa0aa0",
    "AA-aaaa-00",
    "a00000",
)


class Play:
    """Draws everything a conversation is made from. `files` and `notes` are there before it starts."""

    def __init__(self, rng: random.Random, words: Lexicon) -> None:
        self.rng = rng
        self.words = words
        self.files: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self.last: dict[str, Any] = {}
        """What the turns before have left to refer to, such as a result or a path."""
        self.told: dict[str, str] = {}
        self.in_view: list[str] = []
        """The names of the tools in view, known once all turns are made."""

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.rng.random() < share

    def pick(self, choices: Sequence[Any]) -> Any:
        """One of several."""
        return self.rng.choice(choices)

    def say(self, phrase: str, plain: bool = False, **blanks: Any) -> str:
        """A user's sentence of the kind `phrase`; `plain` for one whose end must stay as it is."""
        text = self.words.phrases[phrase]
        parts = _BLANK.split(_expand(self.pick(text), self.rng))
        if self.chance(0.06):
            parts = [self._mistype(part) if part[:1] != "{" else part for part in parts]
        if parts[0] and self.chance(0.5):
            parts[0] = parts[0][0].upper() + parts[0][1:]
        filled = "".join(str(blanks[p[1:-1]]) if p[:1] == "{" else p for p in parts)
        return filled if plain else self._decorate(filled, parts[0] != "")

    def _decorate(self, text: str, from_template: bool) -> str:
        if from_template and self.chance(0.15):
            text = self.pick(self.words.openings) + text[0].lower() + text[1:]
        if self.chance(0.12) and text[-1] not in "?.!":
            text += self.pick(self.words.closings)
        if text[-1].isalnum() and self.chance(0.35):
            text += self.pick("?..")
        if self.chance(0.03):
            text = text.replace(" ", "  ", 1)
        return text

    def _mistype(self, text: str) -> str:
        if len(text) < 6:
            return text
        at = self.rng.randrange(1, len(text) - 2)
        if not (text[at].isalpha() and text[at + 1].isalpha()):
            return text
        if self.chance(0.5):
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        return text[:at] + text[at + 1 :]

    def quoted(self, text: str) -> str:
        """The text as a user may set it apart from the sentence around it."""
        return str(self.pick(_QUOTES)).format(text)

    def made_word(self) -> str:
        """A word that is in no dictionary."""
        return "".join(self.rng.choices(self.words.syllables, k=self.pick((2, 2, 3, 3, 4))))

    def code(self) -> str:
        """Letters, digits and signs such as `QX-204`."""
        letters = {"A": "ABCDEFGHJKLMNPQRSTUVWXYZ", "a": "abcdefghjkmnpqrstuvwxyz", "0": "0123456789"}
        return "".join(self.pick(letters[c]) if c in letters else c for c in self.pick(_CODES))

    def whole(self, digits: int = 0) -> int:
        """A whole number of so many digits, or of one to six."""
        width = digits or self.pick((1, 1, 2, 2, 2, 3, 3, 4, 5, 6))
        return self.rng.randrange(10 ** (width - 1) if width > 1 else 1, 10**width)

    def number(self) -> int | float:
        """A whole or decimal number, seldom negative."""
        value: int | float = self.whole()
        if self.chance(0.3):
            value = round(self.rng.randrange(1, 100000) / self.pick((10, 100, 100)), 2)
            value = int(value) if value == int(value) else value
        return -value if self.chance(0.08) else value

    def date(self) -> str:
        """A day between 1990 and 2039."""
        return (date(1990, 1, 1) + timedelta(days=self.rng.randrange(18250))).isoformat()

    def clock_time(self) -> str:
        """A time of day."""
        return f"{self.rng.randrange(24):02d}:{self.pick(('00', '15', '30', '45', '05', '10', '50'))}"

    def name(self) -> str:
        """A person: a given name, often with a made-up or second name."""
        given = self.pick(self.words.people)
        if self.chance(0.6):
            return str(given)
        if self.chance(0.5):
            return f"{given} {self.made_word().capitalize()}"
        return self.made_word().capitalize()

    def thing(self) -> str:
        """A noun, sometimes with an adjective, sometimes made up."""
        noun = self.made_word() if self.chance(0.15) else self.pick(self.words.nouns)
        return f"{self.pick(self.words.adjectives)} {noun}" if self.chance(0.35) else noun

    def phrase(self) -> str:
        """A few words of free text."""
        draw = self.rng.random()
        if draw < 0.3:
            return self.sentence().rstrip(".")
        if draw < 0.5:
            return f"{self.thing()} {self.whole()}"
        if draw < 0.65:
            return f"{self.pick(self.words.verbs).replace('_', ' ')} the {self.thing()}"
        if draw < 0.8:
            return " ".join(self.made_word() for _ in range(self.pick((1, 2, 2, 3))))
        if draw < 0.9:
            return f"{self.name()} {self.code()}"
        return f"{self.thing()}, {self.thing()} and {self.thing()}"

    def sentence(self) -> str:
        """A made-up sentence."""
        return str(self.pick(self.words.sentences)).format(**self._blanks())

    def _blanks(self) -> dict[str, Any]:
        return {
            "adjective": self.pick(self.words.adjectives),
            "noun": self.pick(self.words.nouns),
            "noun2": self.pick(self.words.nouns),
            "person": self.pick(self.words.people),
            "person2": self.pick(self.words.people),
            "city": self.pick(self.words.cities),
            "number": self.whole(),
            "number2": self.whole(),
            "date": self.date(),
            "code": self.code(),
            "name": self.made_word().capitalize(),
        }

    def fill(self, phrase: str) -> str:
        """A sentence of a kind whose blanks are words of any sort."""
        return self.say(phrase, **self._blanks())

    def path(self) -> str:
        """A file's path, mostly in a folder."""
        stem = self.made_word() if self.chance(0.3) else self.pick(self.words.nouns)
        if self.chance(0.3):
            stem += self.pick(("-", "_", "")) + str(self.pick((self.whole(1), self.whole(2), self.date())))
        elif self.chance(0.2):
            stem = f"{self.pick(self.words.adjectives)}{self.pick('-_')}{stem}"
        folder = self.pick(self.words.folders) + "/" if self.chance(0.6) else ""
        return f"{folder}{stem}.{self.pick(self.words.extensions)}"

    def content(self) -> str:
        """What a file may hold: one to three lines."""
        return "\n".join(self.phrase() for _ in range(self.pick((1, 1, 1, 2, 3))))

    def file(self, content: str | None = None) -> str:
        """A file that exists before the conversation starts; sometimes the last one spoken of."""
        if content is None and self.files and self.chance(0.2):
            return str(self.pick(list(self.files)))
        path = self.path()
        while path in self.files:
            path = self.path()
        self.files[path] = [self.content() if content is None else content]
        return path

    def system(self) -> str:
        """A system prompt."""
        return str(self.pick(self.words.systems)).format(**self._blanks())


@lru_cache(maxsize=4096)
def _choices(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


def _expand(template: str, rng: random.Random) -> str:
    while match := _CHOICE.search(template):
        template = template[: match.start()] + rng.choice(_choices(match[1])) + template[match.end() :]
    return template
