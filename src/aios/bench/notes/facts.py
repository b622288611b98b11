"""Notes about people, and questions whose right note is known: made from `facts.toml`, seeded.

Each note states one fact of one person, and no other note states it. It is asked for by keyword (the name and
the marked words), misspelt (the same with slips of the pen), and by meaning (a question in other words).
"""

import random
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

Asked = Literal["keyword", "misspelt", "meaning"]
ASKED: tuple[Asked, ...] = ("keyword", "misspelt", "meaning")


class Relation(Struct, frozen=True):
    """One kind of fact."""

    value: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]


class Words(Struct, frozen=True):
    """What is in the file."""

    first: str
    last: str
    tails: tuple[str, ...]
    values: dict[str, str]
    relations: tuple[Relation, ...]


class Fact(Struct, frozen=True):
    """A note, and what asks for it."""

    note: str
    asked: dict[Asked, str]


def words() -> Words:
    """Read the file."""
    return msgspec.convert(tomllib.loads(Path(__file__).with_name("facts.toml").read_text("utf-8")), Words)


def facts(seed: int) -> Iterator[Fact]:
    """Facts without end: all of one person, then all of the next, in no order within one."""
    rng = random.Random(seed)
    kept = words()
    for who in _people(rng, kept):
        of_one = [_fact(rng, kept, relation, who) for relation in kept.relations]
        rng.shuffle(of_one)
        yield from of_one


def _people(rng: random.Random, kept: Words) -> Iterator[str]:
    """Names that are each given once; when they run out they get a middle name."""
    firsts, lasts = kept.first.split(), kept.last.split()
    names = [f"{first} {last}" for first in firsts for last in lasts]
    rng.shuffle(names)
    yield from names
    for middle in firsts:
        for name in names:
            first, last = name.split()
            yield f"{first} {middle} {last}"


def _fact(rng: random.Random, kept: Words, relation: Relation, who: str) -> Fact:
    statement = rng.choice(relation.statements)
    value = _value(rng, kept.values[relation.value])
    note = statement.replace("*", "").format(who=who, v=value) + rng.choice(kept.tails)
    marked = re.findall(r"\*(\w+)\*", statement)
    wanted = [*who.split(), *marked]
    rng.shuffle(wanted)
    question = rng.choice(relation.questions).format(who=who)
    misspelt = " ".join(_slip(rng, word) for word in wanted)
    return Fact(
        note[0].upper() + note[1:], {"keyword": " ".join(wanted), "misspelt": misspelt, "meaning": question}
    )


def _value(rng: random.Random, values: str) -> str:
    match values:
        case "#":
            return (
                f"{rng.choice('ABCDEFGHJKLMNPRSTUVWXYZ')}{rng.randrange(100, 1000)}-{rng.randrange(10_000)}"
            )
        case "$":
            return str(rng.randrange(5, 250) * 10)
        case "@":
            return f"{rng.randrange(5, 23):02d}:{rng.randrange(0, 60, 5):02d}"
    return rng.choice(values.split())


def _slip(rng: random.Random, word: str) -> str:
    """Two letters swapped, one left out, doubled or replaced; short words are as they are."""
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    match rng.randrange(4):
        case 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
        case 2:
            return word[:at] + word[at] + word[at:]
    return word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]
