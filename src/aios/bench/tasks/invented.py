"""Tools that exist for one conversation only: made-up names, descriptions, arguments and results."""

import json
import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from aios.abi.messages import JsonSchema, ToolSpec
from aios.bench.tasks.play import Answer, Play, Script, Turn


class Field(Struct, frozen=True):
    """One argument: its schema, whether it may be left out, and how values of it are drawn."""

    name: str
    schema: JsonSchema
    optional: bool
    draw: Callable[[], Any]
    link: str = ""
    """A preposition that says this argument without naming it, such as `in` for a city."""


class Invented(Struct, frozen=True):
    """A made-up tool: its spec, what a user calls what it does, and its results."""

    spec: ToolSpec
    act: str
    fields: tuple[Field, ...]
    result_fields: tuple[str, ...]
    style: str
    seed: int
    fails: str = ""

    def run(self, arguments: dict[str, Any]) -> str:
        """The result for these arguments, always the same."""
        if self.fails:
            return f"error: {self.fails}"
        key = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
        return _result(random.Random(f"{self.seed} {key}"), self)


_LINKS = (("for", "name"), ("in", "city"), ("on", "date"), ("at", "time"), ("to", "city"), ("from", "city"), ("with", "name"))
_SYNONYMS = {
    "book": "reserve", "reserve": "book", "buy": "purchase", "send": "mail", "find": "locate", "search": "look for",
    "show": "display", "check": "verify", "start": "launch", "stop": "halt", "delete": "erase", "remove": "take away",
    "add": "insert", "create": "set up", "cancel": "call off", "get": "fetch", "change": "modify", "repair": "fix",
    "invite": "ask", "measure": "gauge", "estimate": "guess", "summarize": "sum up", "translate": "render",
}  # fmt: skip
_NAMES = ("name", "person", "guest", "owner", "author", "user", "contact", "member", "recipient")
_KINDS = ("person", "city", "date", "time", "code", "email", "made", "phrase", "thing", "path", "digits")
_ITEMS = ("person", "city", "date", "time", "code", "email", "made", "thing")


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
    article = play.pick(("a ", "the ", "", "a ", "the ")) if not noun.startswith(tuple("aeiou")) else play.pick(("the ", ""))
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
    shape = play.pick(("{v} a {n}", "{v} the {n}", "{v} {n}s", "{v} {n}", "lets you {v} a {n}", "use this to {v} a {n}", "{v} a {n} {x}"))
    text = str(shape).format(v=verb, n=noun, x=f"of the {play.thing()}" if play.chance(0.5) else f"for {play.thing()}s")
    if play.chance(0.15):
        text += f". {play.sentence()}"
    return text[0].upper() + text[1:] if play.chance(0.4) else text


def _fields(play: Play) -> list[Field]:
    names: list[str] = play.rng.sample(play.words.fields, play.pick((0, 1, 1, 2, 2, 2, 3, 3, 4)))
    names = [play.made_word() if play.chance(0.08) else name for name in dict.fromkeys(names)]
    fields: list[Field] = []
    links = set()
    for name in dict.fromkeys(names):
        field = _field(play, name, not fields)
        if field.link in links:
            field = Field(field.name, field.schema, field.optional, field.draw)
        links.add(field.link)
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
        whole = play.chance(0.25)
        item = play.whole if whole else lambda kind=play.pick(_ITEMS): _text_value(play, kind)
        schema = {"type": "array", "items": {"type": "integer" if whole else "string"}}
        return Field(name, schema, optional, lambda: [item() for _ in range(play.pick((1, 2, 2, 3, 3, 4)))])
    if draw < 0.72:
        link, kind = play.pick(_LINKS)
        if kind == "name" and play.chance(0.5):
            name = play.pick([n for n in play.words.fields if n in _NAMES] or [name])
        kind = "person" if kind == "name" else kind
        return Field(name, {"type": "string"}, optional, lambda: _text_value(play, kind), link)
    kind = play.pick(_KINDS)
    return Field(name, {"type": "string"}, optional, lambda: _text_value(play, kind))


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


_STYLES = ("lines", "json", "sentence", "sentence", "pairs", "bare", "done")


def _result(rng: random.Random, tool: Invented) -> str:
    letters = "ABCDEFGHKLMNPRSTUVWXYZ"
    values: dict[str, Any] = {}
    for field in tool.result_fields:
        draw = rng.random()
        if draw < 0.4:
            values[field] = rng.randrange(10 ** rng.choice((1, 2, 3, 4)))
        elif draw < 0.7:
            values[field] = f"{rng.choice(letters)}{rng.choice(letters)}-{rng.randrange(10, 1000)}"
        else:
            values[field] = tool.seed % 7919 + rng.randrange(100)
    first = next(iter(values.values()))
    match tool.style:
        case "json":
            return json.dumps(values)
        case "lines":
            return "\n".join(f"{field}: {value}" for field, value in values.items())
        case "pairs":
            return ", ".join(f"{field}={value}" for field, value in values.items())
        case "bare":
            return str(first)
        case "done":
            return rng.choice(("ok", "done", "success", "ok, done"))
        case _:
            field = tool.result_fields[0].replace("_", " ")
            shapes = ("The {f} is {v}.", "{f} {v} it is.", "All set: {f} {v}.", "Found {f} {v}.", "It worked, {f}: {v}")
            return rng.choice(shapes).format(f=field, v=first)


def _failure(play: Play, noun: str) -> str:
    shapes = ("the {n} is not there", "no {n} left", "{n} not found", "the service is down", "not allowed", "{n} {c} is locked", "too many requests")
    return str(play.pick(shapes)).format(n=noun, c=play.code())


def answer_result(tool: Invented, result: str, asked: str = "") -> Answer:
    """The answer that tells a result; only the field that was asked for, where one was."""
    if result.startswith("error: "):
        sentence = result.removeprefix("error: ")
        return Answer(f"That failed: {sentence}.", (sentence,))
    if tool.style == "done":
        return Answer("Done.")
    if tool.style == "bare":
        return Answer(f"The result is {result}.", (result,))
    if tool.style == "sentence":
        return Answer(f"Done. {result}", tuple(w for w in result.strip(".").split() if any(c.isdigit() for c in w)))
    values = _read(tool.style, result)
    if asked:
        return Answer(f"The {asked.replace('_', ' ')} is {values[asked]}.", (values[asked],))
    said = ", ".join(f"the {field.replace('_', ' ')} is {value}" for field, value in values.items())
    return Answer(said[0].upper() + said[1:] + ".", tuple(values.values()))


def _read(style: str, result: str) -> dict[str, str]:
    if style == "json":
        return {key: str(value) for key, value in json.loads(result).items()}
    lines, sign = (result.split("\n"), ": ") if style == "lines" else (result.split(", "), "=")
    return dict(line.split(sign, 1) for line in lines)


def mention(play: Play, field: Field, value: Any) -> str:
    """How a user says one argument."""
    key = field.name.replace("_", " ") if play.chance(0.6) else field.name
    if isinstance(value, bool):
        plain = play.pick(("with {k}", "{k} on", "{k} yes")) if value else play.pick(("without {k}", "no {k}", "{k} off"))
        shape = play.pick((plain, "{k} {v}", "{k}: {v}", "{k}={v}", plain))
        return str(shape).format(k=key, v=str(value).lower())
    if isinstance(value, list):
        said = [str(item) for item in value]
        text = ", ".join(said)
        if len(said) > 1 and play.chance(0.5):
            text = f"{', '.join(said[:-1])} and {said[-1]}"
        return str(play.pick(("{k} {v}", "{k}: {v}", "the {k} {v}"))).format(k=key, v=text)
    text = str(value)
    if field.link and play.chance(0.6):
        return f"{field.link} {text}"
    if "," in text or " and " in text:
        text = f'"{text}"'  # else nobody could say where it ends
    elif (" " in text and play.chance(0.5)) or play.chance(0.15):
        text = play.quoted(text)
    if "enum" in field.schema and play.chance(0.15):
        return f"{text} {key}"
    shapes = ("{k} {v}", "{k} {v}", "{k}: {v}", "{k}={v}", "{k} is {v}", "{v} as {k}", "the {k} {v}", "{k} = {v}", "a {k} of {v}")
    return str(play.pick(shapes)).format(k=key, v=text)


def use(play: Play, tool: Invented, kind: str, told: bool) -> Turn:
    """A turn that asks for the tool: `told` by what it does, else by its name."""
    chosen = [field for field in tool.fields if not field.optional or play.chance(0.5)]
    values = {field.name: field.draw() for field in chosen}
    order = play.rng.sample(chosen, len(chosen)) if play.chance(0.5) else chosen
    said = play.pick((", ", ", ", ", ", " and ", "; ", " ")).join(mention(play, f, values[f.name]) for f in order)
    way = "tool_told" if told else "tool_named"
    blanks = {"tool": tool.spec.name, "act": tool.act, "args": said}
    user = play.say(way if chosen else {"tool_told": "tool_told_bare", "tool_named": "tool_bare"}[way], bool(chosen), **blanks)
    asked = ""
    if tool.style in ("json", "lines", "pairs") and len(tool.result_fields) > 1 and play.chance(0.5):
        asked = play.pick(tool.result_fields)
        user += play.pick((". ", "\n", "? ", ", then ")) + play.say("ask_field", x=asked.replace("_", " "))
    play.last["use"] = (tool, values)

    def script() -> Script:
        (result,) = yield [(tool.spec.name, values)]
        return answer_result(tool, result, asked)

    return Turn(kind, user, script)


def use_again(play: Play, kind: str) -> Turn:
    """A turn that asks for the same once more, with one argument changed."""
    tool, values = play.last["use"]
    field = play.pick([field for field in tool.fields if field.name in values])
    changed = {**values, field.name: field.draw()}
    user = play.say("tool_again", True, arg=mention(play, field, changed[field.name]))
    play.last["use"] = (tool, changed)

    def script() -> Script:
        (result,) = yield [(tool.spec.name, changed)]
        return answer_result(tool, result)

    return Turn(kind, user, script)
