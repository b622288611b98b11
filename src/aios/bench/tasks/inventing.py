"""Makes tools up: names, descriptions, arguments, ways to answer and to fail."""

from typing import Any

from aios.abi.messages import JsonSchema, ToolSpec
from aios.bench.tasks.invented import Field, Invented
from aios.bench.tasks.play import Play

_LINKS = (
    ("for", "name"),
    ("in", "city"),
    ("on", "date"),
    ("at", "time"),
    ("to", "city"),
    ("from", "city"),
    ("with", "name"),
)

_SYNONYMS = {
    "book": "reserve",
    "reserve": "book",
    "buy": "purchase",
    "send": "mail",
    "find": "locate",
    "search": "look for",
    "show": "display",
    "check": "verify",
    "start": "launch",
    "stop": "halt",
    "delete": "erase",
    "remove": "take away",
    "add": "insert",
    "create": "set up",
    "cancel": "call off",
    "get": "fetch",
    "change": "modify",
    "repair": "fix",
    "invite": "ask",
    "measure": "gauge",
    "estimate": "guess",
    "summarize": "sum up",
    "translate": "render",
}

_KINDS = ("person", "city", "date", "time", "code", "email", "made", "phrase", "thing", "path", "digits")

_ITEMS = ("person", "city", "date", "time", "code", "email", "made", "thing")

_STYLES = ("lines", "json", "sentence", "sentence", "pairs", "bare", "done")


def invent(play: Play, verb: str = "", noun: str = "") -> Invented:
    """A tool of its own; a given verb or noun makes it close to another one."""
    words = play.words
    verb = verb or (play.made_word() if play.chance(0.12) else play.pick(words.verbs))
    noun = noun or (play.made_word() if play.chance(0.15) else play.pick(words.nouns))
    if play.chance(0.15):
        noun = f"{play.pick(words.adjectives)} {noun}"
    hidden = play.chance(0.2)
    name = _name(play, play.made_word() if hidden else verb, "" if hidden else noun)
    told = verb.replace("_", " ")
    article = (
        play.pick(("a ", "the ", "", "a ", "the "))
        if not noun.startswith(tuple("aeiou"))
        else play.pick(("the ", ""))
    )
    act = f"{told} {article}{noun}"
    fields = tuple(_fields(play))
    properties = {field.name: field.schema for field in fields}
    schema: JsonSchema = {"type": "object", "properties": properties}
    schema["required"] = [field.name for field in fields if not field.optional]
    fails = _failure(play, noun) if play.chance(0.07) else ""
    spec = ToolSpec(name, _description(play, told, noun, hidden), schema)
    results = tuple(play.rng.sample(words.fields, play.pick((1, 1, 2, 3))))
    return Invented(spec, act, fields, results, play.pick(_STYLES), play.rng.randrange(2**32), fails)


def _name(play: Play, verb: str, noun: str) -> str:
    parts = [part for part in (verb.replace(" ", "_"), noun.replace(" ", "_")) if part]
    if play.chance(0.12):
        parts.reverse()
    style = play.rng.random()
    if style < 0.55:
        name = "_".join(parts)
    elif style < 0.75:
        words = "_".join(parts).split("_")
        name = words[0] + "".join(word.capitalize() for word in words[1:])
    elif style < 0.83:
        name = "-".join(parts)
    elif style < 0.92:
        name = f"{_server(play)}{play.pick(('/', '.', '__'))}{'_'.join(parts)}"
    else:
        name = "_".join(parts) + play.pick(("_v2", "_tool", "_api", "_now", "2"))
    return name


def _server(play: Play) -> str:
    return play.made_word() if play.chance(0.5) else str(play.pick(play.words.nouns))


def _description(play: Play, verb: str, noun: str, hidden: bool) -> str:
    if not hidden and play.chance(0.1):
        return ""
    if play.chance(0.15):
        verb = _SYNONYMS.get(verb, verb)
    shape = play.pick(
        (
            "{v} a {n}",
            "{v} the {n}",
            "{v} {n}s",
            "{v} {n}",
            "lets you {v} a {n}",
            "use this to {v} a {n}",
            "{v} a {n} {x}",
        )
    )
    text = str(shape).format(
        v=verb, n=noun, x=f"of the {play.thing()}" if play.chance(0.5) else f"for {play.thing()}s"
    )
    if play.chance(0.15):
        text += f". {play.sentence()}"
    return text[0].upper() + text[1:] if play.chance(0.4) else text


def _fields(play: Play) -> list[Field]:
    names: list[str] = play.rng.sample(play.words.fields, play.pick((0, 1, 1, 2, 2, 2, 3, 3, 4)))
    names = [play.made_word() if play.chance(0.08) else name for name in names]
    fields: list[Field] = []
    for name in dict.fromkeys(names):
        field = _field(play, name, not fields)
        if field.link and (field.optional or any(other.link for other in fields)):
            # "with Ann" tells which argument it is only where all others are named and none may be left out.
            field = Field(field.name, field.schema, field.optional, field.draw)
        fields.append(field)
    return sorted(fields, key=lambda field: field.optional) if play.chance(0.7) else fields


def _field(play: Play, name: str, first: bool) -> Field:
    optional = play.chance(0.15 if first else 0.3)
    draw = play.rng.random()
    if draw < 0.14:
        return Field(name, {"type": "integer"}, optional, play.whole)
    if draw < 0.22:
        return Field(name, {"type": "number"}, optional, play.number)
    if draw < 0.32:
        return Field(name, {"type": "boolean"}, optional, lambda: play.chance(0.5))
    if draw < 0.46:
        mode = play.pick(play.words.modes)
        return Field(name, {"type": "string", "enum": list(mode)}, optional, lambda: play.pick(mode))
    if draw < 0.56:
        return _list_field(play, name, optional)
    if draw < 0.72:
        link, kind = play.pick(_LINKS)
        kind = "person" if kind == "name" else kind
        return Field(name, {"type": "string"}, optional, lambda: _text_value(play, kind), link)
    kind = play.pick(_KINDS)
    return Field(name, {"type": "string"}, optional, lambda: _text_value(play, kind))


def _list_field(play: Play, name: str, optional: bool) -> Field:
    whole, kind = play.chance(0.25), play.pick(_ITEMS)

    def draw() -> list[Any]:
        count = play.pick((1, 2, 2, 3, 3, 4))
        return [play.whole() if whole else _text_value(play, kind) for _ in range(count)]

    return Field(name, {"type": "array", "items": {"type": "integer" if whole else "string"}}, optional, draw)


def _text_value(play: Play, kind: str) -> str:
    match kind:
        case "person":
            return play.name()
        case "city":
            return play.made_word().capitalize() if play.chance(0.25) else str(play.pick(play.words.cities))
        case "date":
            return play.date()
        case "time":
            return play.clock_time()
        case "code":
            return play.code()
        case "email":
            return f"{play.made_word()}@{play.made_word()}.{play.pick(('com', 'org', 'net', 'io'))}"
        case "made":
            return play.made_word()
        case "phrase":
            return play.phrase().replace("\n", " ")
        case "thing":
            return play.thing()
        case "path":
            return play.path()
        case _:
            return str(play.whole())


def _failure(play: Play, noun: str) -> str:
    shapes = (
        "the {n} is not there",
        "no {n} left",
        "{n} not found",
        "the service is down",
        "not allowed",
        "{n} {c} is locked",
        "too many requests",
    )
    return str(play.pick(shapes)).format(n=noun, c=play.code())
