"""The kinds of turn that use the built-in tools, or none: what the user says and how it is answered best."""

import re
from collections.abc import Callable

from aios.bench.tasks.play import Answer, Play, Script, Turn, Wish

Maker = Callable[[Play], Turn]

_UNITS = {
    "length": ("km kilometers", "m meters", "cm centimeters", "mm millimeters", "mi miles", "ft feet", "in inches", "yd yards"),
    "mass": ("kg kilograms", "g grams", "mg milligrams", "lb pounds", "oz ounces", "t tonnes"),
    "volume": ("l liters", "ml milliliters", "gal gallons", "cups", "pt pints"),
    "time": ("s seconds", "min minutes", "h hours", "days", "weeks"),
    "speed": ("km/h", "mph", "m/s", "knots"),
    "temperature": ("celsius C", "fahrenheit F", "kelvin K"),
    "area": ("m2", "km2", "ha hectares", "acres", "ft2"),
    "data": ("MB megabytes", "GB gigabytes", "KB kilobytes", "TB terabytes"),
}  # fmt: skip


def failed(result: str) -> Answer | None:
    """The answer that reports an error; None where the result is none."""
    if not result.startswith("error: "):
        return None
    sentence = result.removeprefix("error: ").rstrip(".")
    return Answer(f"That failed: {sentence}.", ())


def missing(path: str, result: str) -> Answer | None:
    """The answer when a file is not there; None where the result is no error."""
    return Answer(f"There is no file {path}.", (path,)) if result.startswith("error: ") else None


def joined(items: list[str]) -> str:
    """Items as a sentence lists them."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def single(call: Wish, answer: Callable[[str], Answer]) -> Callable[[], Script]:
    """A turn of one call, answered from its result."""

    def script() -> Script:
        (result,) = yield [call]
        return failed(result) or answer(result)

    return script


def _result_is(result: str) -> Answer:
    return Answer(f"The result is {result}.", (result,))


def _expression(play: Play) -> tuple[str, str]:
    """An expression as the user writes it, and as the calculator gets it."""
    a, b, c = play.number(), play.number(), play.whole(play.pick((1, 2)))
    draw = play.rng.random()
    if draw < 0.1:
        share = play.pick((5, 10, 12, 15, 20, 25, 30, 50, 75, play.whole(2)))
        return f"{share}% of {abs(b)}", f"{share}% of {abs(b)}"
    if draw < 0.16:
        root = play.pick((f"the square root of {abs(a)}", f"sqrt({abs(a)})", f"square root of {abs(a)}"))
        return root, f"sqrt({abs(a)})"
    if draw < 0.22:
        power = play.pick((2, 3, 2))
        base = play.whole(play.pick((1, 2, 3)))
        written = play.pick((f"{base} to the power of {power}", f"{base}^{power}", f"{base} ** {power}"))
        return written, f"{base} ** {power}"
    first, second = play.pick("+-*/"), play.pick("+-*/")
    if draw < 0.65:
        exact = f"{a} {first} {b}"
    elif draw < 0.8:
        exact = f"{a} {first} {b} {second} {c}"
    elif draw < 0.9:
        exact = f"({a} {first} {b}) {second} {c}"
    else:
        exact = f"{c} {second} ({a} {first} {b})"
    written = exact
    if play.chance(0.3):
        written = written.replace(" ", "")
    elif play.chance(0.25):
        for sign, word in (("*", " times "), ("+", " plus "), ("-", " minus "), ("/", " divided by ")):
            written = written.replace(f" {sign} ", word)
    elif play.chance(0.15):
        written = written.replace("*", play.pick("×x")).replace("/", "÷")
    return written, exact


def _compute(expression: str, play: Play, user: str, kind: str = "calc") -> Turn:
    def script() -> Script:
        (result,) = yield [("calculate", {"expression": expression})]
        play.last["value"] = result
        return failed(result) or _result_is(result)

    play.last["number"] = True
    return Turn(kind, user, script)


def calc(play: Play) -> Turn:
    draw = play.rng.random()
    if draw < 0.65:
        written, exact = _expression(play)
        return _compute(exact, play, play.say("calc", plain=True, e=written))
    if draw < 0.8:
        n, price = play.whole(play.pick((1, 2, 3))), abs(play.number())
        return _compute(f"{n} * {price}", play, play.say("calc_price", n=n, p=price, noun=play.pick(play.words.nouns)))
    values = [str(abs(play.number())) for _ in range(play.pick((2, 3, 3, 4, 5)))]
    said = joined(values) if play.chance(0.6) else ", ".join(values)
    total = " + ".join(values)
    if draw < 0.9:
        return _compute(f"({total}) / {len(values)}", play, play.say("calc_average", list=said))
    return _compute(total, play, play.say("calc_sum", list=said))


def calc_more(play: Play) -> Turn:
    n = play.whole(play.pick((1, 1, 2, 3)))
    text = play.say("calc_more", plain=True, n=n)
    words = (("multiply", "*"), ("times", "*"), ("divide", "/"), ("subtract", "-"), ("minus", "-"), ("take", "-"))
    sign = next((sign for word, sign in words if word in text.lower()), "+")

    def script() -> Script:
        value = play.last.get("value", "0")
        (result,) = yield [("calculate", {"expression": f"{value} {sign} {n}"})]
        play.last["value"] = result
        return failed(result) or _result_is(result)

    return Turn("calc", text, script)


def units(play: Play) -> Turn:
    kind = play.pick(list(_UNITS))
    first, second = play.rng.sample(_UNITS[kind], 2)
    a, b = play.pick(first.split()), play.pick(second.split())
    value = play.number() if kind == "temperature" else abs(play.number())
    play.last["units"] = (value, a, [u.split()[0] for u in _UNITS[kind] if u not in (first, second)])
    return _convert(play, play.say("units", v=value, a=a, b=b), value, a, b)


def units_more(play: Play) -> Turn:
    value, a, others = play.last["units"]
    b = play.pick(others)
    return _convert(play, play.say("units_more", plain=True, b=b), value, a, b)


def _convert(play: Play, user: str, value: float, a: str, b: str) -> Turn:
    call = ("convert_units", {"value": value, "from_unit": a, "to_unit": b})
    return Turn("units", user, single(call, lambda r: Answer(f"{value} {a} is {r}.", (r.split()[0],))))


def dates(play: Play) -> Turn:
    d, n = play.date(), play.whole(play.pick((1, 2, 2, 3)))
    draw = play.rng.random()
    if draw < 0.3:
        return _dated("add_days", {"date": d, "days": n}, play.say("add_days", d=d, n=n), "The date is {}.")
    if draw < 0.4:
        return _dated("add_days", {"date": d, "days": -n}, play.say("sub_days", d=d, n=n), "The date is {}.")
    if draw < 0.47:
        n = play.rng.randrange(1, 13)
        return _dated("add_days", {"date": d, "days": 7 * n}, play.say("add_weeks", d=d, n=n), "The date is {}.")
    if draw < 0.67:
        e = play.date()
        return _dated("days_between", {"start": d, "end": e}, play.say("days_between", d=d, e=e), "It is {}.")
    if draw < 0.9:
        return _dated("weekday", {"date": d}, play.say("weekday", d=d), f"{d} is a {{}}.")
    return _dated("current_time", {}, play.say("now"), "It is {}.", kind="now")


def _dated(tool: str, arguments: dict[str, object], user: str, shape: str, kind: str = "dates") -> Turn:
    return Turn(kind, user, single((tool, arguments), lambda r: Answer(shape.format(r), (r,))))


def _subject(play: Play) -> tuple[str, str]:
    """What a note is about, and its value."""
    attribute = play.pick(play.words.attributes) if play.chance(0.8) else play.pick(play.words.fields).replace("_", " ")
    draw = play.rng.random()
    value = (
        play.code() if draw < 0.35 else str(play.whole()) if draw < 0.55 else play.made_word() if draw < 0.7 else
        play.date() if draw < 0.8 else play.pick(play.words.cities) if draw < 0.9 else play.thing()
    )  # fmt: skip
    draw = play.rng.random()
    if draw < 0.6:
        return f"{play.name()}'s {attribute}", value
    if draw < 0.9:
        return f"the {attribute} of the {play.thing()}", value
    return f"the {play.pick(play.words.adjectives)} {attribute}", value


def _note(play: Play) -> tuple[str, str, str]:
    """A note that is kept already, among others: its subject, its value, its text."""
    subject, value = _subject(play)
    text = f"{subject} is {value}"
    for _ in range(play.pick((0, 0, 1, 2, 3))):
        other, thing = _subject(play)
        if play.chance(0.3):
            other = subject.split("'s ")[0] + "'s " + play.pick(play.words.attributes) if "'s " in subject else other
        if other.lower() != subject.lower():
            play.notes.append(f"{other} is {thing}" if play.chance(0.8) else play.phrase())
    play.notes.insert(play.rng.randrange(len(play.notes) + 1), text)
    return subject, value, text


def remember(play: Play) -> Turn:
    subject, value = _subject(play)
    text = f"{subject} is {value}" if play.chance(0.7) else play.phrase()
    if play.chance(0.25):
        tags = [play.pick((play.made_word(), play.pick(play.words.nouns))) for _ in range(play.pick((1, 2, 2, 3)))]
        said = joined(tags) if play.chance(0.5) else ", ".join(tags)
        user = play.say("remember_tags", plain=True, x=text, tags=said)
        return Turn("remember", user, single(("remember", {"text": text, "tags": tags}), _kept))
    return Turn("remember", play.say("remember", plain=True, x=text), single(("remember", {"text": text}), _kept))


def _kept(result: str) -> Answer:
    return Answer(f"Noted, {result}.")


def _found(result: str, subject: str) -> tuple[str, str] | None:
    """The id and text of the note on a subject among the notes found."""
    for line in result.split("\n"):
        note_id, _, text = line.partition(": ")
        if text.lower().startswith(f"{subject.lower()} is "):
            return note_id, text
    return None


def recall(play: Play) -> Turn:
    known = play.chance(0.9)
    subject, value, _ = _note(play)
    if not known:
        subject, value = _subject(play)
    arguments: dict[str, object] = {"text": subject}
    user = play.say("recall", x=subject)
    if play.chance(0.12):
        arguments["limit"] = play.rng.randrange(1, 10)
        user = play.say("recall_limit", plain=True, x=subject, n=arguments["limit"])

    def script() -> Script:
        (result,) = yield [("recall", arguments)]
        return failed(result) or _recalled(result, subject)

    return Turn("recall", user, script)


def _recalled(result: str, subject: str) -> Answer:
    note = _found(result, subject)
    if note is None:
        return Answer(f"I have no note about {subject}.", ())
    text = note[1]
    return Answer(f"{text[0].upper()}{text[1:]}.", (text.rsplit(" is ", 1)[1],))


def change_note(play: Play) -> Turn:
    subject, _, _ = _note(play)
    draw = play.rng.random()
    if draw < 0.25:
        note_id = f"n{play.rng.randrange(1, len(play.notes) + 1)}"
        user = play.say("forget_id", i=note_id)
        return Turn("change_note", user, single(("forget", {"note_id": note_id}), lambda r: Answer(f"I {r}.", (note_id,))))
    text = f"{subject} is {_subject(play)[1]}"
    forget = draw < 0.6
    user = play.say("forget", x=subject) if forget else play.say("update_note", plain=True, x=subject, y=text)

    def script() -> Script:
        (result,) = yield [("recall", {"text": subject})]
        note = _found(result, subject)
        if note is None:
            return failed(result) or Answer(f"I have no note about {subject}.")
        call = ("forget", {"note_id": note[0]}) if forget else ("update_note", {"note_id": note[0], "text": text})
        (result,) = yield [call]
        return failed(result) or Answer(f"I {result}.", (note[0],))

    return Turn("change_note", user, script)


def _new_path(play: Play) -> str:
    path = play.path()
    play.last["path"] = path
    return path


def _some_file(play: Play, content: str | None = None) -> str:
    path = play.file(content)
    play.last["path"] = path
    return path


def write(play: Play) -> Turn:
    path, text = _new_path(play), play.content().split("\n")[0] if play.chance(0.85) else play.content()
    return _written("write_file", path, text, play.say("write", plain=True, q=_set_off(play, text), p=path))


def append(play: Play) -> Turn:
    path = _some_file(play) if play.chance(0.8) else _new_path(play)
    text = play.content().split("\n")[0]
    return _written("append_file", path, text, play.say("append", plain=True, q=_set_off(play, text), p=path))


def _set_off(play: Play, text: str) -> str:
    """A text in quotes wherever it has a word that could belong to the sentence around it."""
    return play.quoted(text) if not re.search(r" (in|to|into|and|with|at|on)\b|[:,\n\"']", text) else f'"{text}"'


def _written(tool: str, path: str, text: str, user: str) -> Turn:
    said = f"I wrote {path}." if tool == "write_file" else f"I added that to {path}."
    call = (tool, {"path": path, "content": text})
    return Turn(tool.removesuffix("_file"), user, single(call, lambda r: Answer(said, (path,))))


def write_it(play: Play) -> Turn:
    path = _new_path(play)

    def script() -> Script:
        value = play.last.get("value", "0")
        (result,) = yield [("write_file", {"path": path, "content": value})]
        return failed(result) or Answer(f"I wrote {path}.", (path,))

    return Turn("write", play.say("write_it", p=path), script)


def read(play: Play) -> Turn:
    path = _some_file(play) if play.chance(0.85) else _new_path(play)
    return _reading(path, play.say("read", p=path))


def read_it(play: Play) -> Turn:
    return _reading(play.last["path"], play.say("read_it"))


def _reading(path: str, user: str) -> Turn:
    def script() -> Script:
        (result,) = yield [("read_file", {"path": path})]
        return missing(path, result) or _says(result)

    return Turn("read", user, script)


def _says(content: str) -> Answer:
    if content == "(empty)":
        return Answer("It is empty.", ("empty",))
    return Answer(f"It says: {content}", (content,))


def listing(play: Play) -> Turn:
    for _ in range(play.pick((0, 1, 2, 3, 4))):
        play.file()
    if play.chance(0.45):
        user, arguments = play.say("list"), {}
    else:
        folders = [path.rsplit("/", 1)[0] for path in play.files if "/" in path]
        folder = play.pick(folders) if folders and play.chance(0.85) else play.pick(play.words.folders)
        user, arguments = play.say("list_in", f=folder), {"folder": folder}
    return Turn("list", user, single(("list_files", arguments), _listed))


def _listed(result: str) -> Answer:
    if result == "no files":
        return Answer("There are no files.", ("no files",))
    paths = result.split("\n")
    return Answer(f"The {'file is' if len(paths) == 1 else 'files are'} {joined(paths)}.", tuple(paths))


def _word_inside(play: Play, path: str) -> str:
    words = [w for w in re.findall(r"[\w-]+", play.files[path][-1]) if len(w) > 3]
    return str(play.pick(words)) if words else play.made_word()


def search(play: Play) -> Turn:
    for _ in range(play.pick((0, 1, 2))):
        play.file()
    path = play.file()
    word = _word_inside(play, path) if play.chance(0.85) else play.made_word()
    user = play.say("search", x=play.quoted(word) if play.chance(0.3) else word)
    return Turn("search", user, single(("search_files", {"text": word}), _located))


def _located(result: str) -> Answer:
    if result == "nothing found":
        return Answer("No file mentions it.", ())
    return Answer(f"It is in {joined(result.split(chr(10)))}.", tuple(result.split("\n")))


def _versioned(play: Play) -> str:
    path = _some_file(play, play.content())
    play.files[path] += [play.content() for _ in range(play.pick((1, 1, 2, 3)))]
    return path


def versions(play: Play) -> Turn:
    path = _versioned(play)
    draw = play.rng.random()
    if draw < 0.4:
        return _history(path, play.say("history", p=path))
    if draw < 0.75:
        version = play.rng.randrange(1, len(play.files[path]) + 1)
        return _back(path, version, play.say("rollback", p=path, n=version))

    def script() -> Script:
        (result,) = yield [("file_history", {"path": path})]
        if answer := missing(path, result):
            return answer
        previous = max(1, len(result.split("\n")) - 1)
        (result,) = yield [("rollback_file", {"path": path, "version": previous})]
        return failed(result) or Answer(f"{path} is back to version {previous}.", (path, str(previous)))

    return Turn("versions", play.say("undo", p=path), script)


def _history(path: str, user: str) -> Turn:
    def script() -> Script:
        (result,) = yield [("file_history", {"path": path})]
        count = len(result.split("\n"))
        said = f"{path} has {count} version{'s' if count > 1 else ''}."
        return missing(path, result) or Answer(said, (str(count),))

    return Turn("versions", user, script)


def _back(path: str, version: int, user: str) -> Turn:
    call = ("rollback_file", {"path": path, "version": version})
    said = f"{path} is back to version {version}."
    return Turn("versions", user, single(call, lambda r: Answer(said, (path, str(version)))))


def delete(play: Play) -> Turn:
    path = _some_file(play) if play.chance(0.88) else _new_path(play)
    return _deleting(path, play.say("delete", p=path))


def delete_it(play: Play) -> Turn:
    return _deleting(play.last["path"], play.say("delete_it"))


def _deleting(path: str, user: str) -> Turn:
    def script() -> Script:
        (result,) = yield [("delete_file", {"path": path})]
        return missing(path, result) or Answer(f"I deleted {path}.", (path,))

    return Turn("delete", user, script)


def greet(play: Play) -> Turn:
    return _plain("greet", play.fill("greet"), "Hello! How can I help you?")


def thanks(play: Play) -> Turn:
    return _plain("greet", play.fill("thanks"), "You are welcome.")


def who(play: Play) -> Turn:
    return _plain("greet", play.fill("who"), "I am a small assistant that runs on AIOS.")


def unfit(play: Play) -> Turn:
    return no_tool(play.fill("unfit"))


def no_tool(user: str) -> Turn:
    """A request that no tool in view fits."""
    return _plain("unfit", user, "I have no tool for that.", ("no tool",))


def _plain(kind: str, user: str, said: str, facts: tuple[str, ...] = ()) -> Turn:
    def script() -> Script:
        yield from ()
        return Answer(said, facts)

    return Turn(kind, user, script)


def say(play: Play) -> Turn:
    thing = play.pick(play.words.attributes) if play.chance(0.7) else play.thing()
    value = play.pick((play.code(), play.made_word(), play.whole(), play.name(), play.pick(play.words.cities), play.thing()))
    play.told[thing] = str(value)
    return _plain("context", play.say("say", plain=True, x=thing, v=value), "Thanks for telling me.")


def ask(play: Play) -> Turn:
    thing = play.pick(list(play.told))
    value = play.told[thing]
    return _plain("context", play.say("ask", x=thing), f"Your {thing} is {value}.", (value,))


def text(play: Play) -> Turn:
    facts = [(play.pick((play.name(), f"the {play.thing()}")), play.pick(play.words.attributes), play.code()) for _ in range(play.pick((1, 2, 3)))]
    told = [play.say("fact", plain=True, s=s, x=x, v=v) for s, x, v in facts]
    if play.chance(0.4):
        told.insert(play.rng.randrange(len(told) + 1), play.sentence().rstrip("."))
    s, x, v = play.pick(facts)
    question = play.say("fact_ask", plain=True, s=s, x=x)
    user = play.say("text", plain=True, t=". ".join(told) + ".", q=question)
    return _plain("context", user, f"The {x} of {s} is {v}.", (v,))
