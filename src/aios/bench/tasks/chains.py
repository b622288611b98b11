"""The kinds of turn that take several calls: one after the other, or at once."""

import re
from collections.abc import Callable
from typing import Any

from aios.bench.tasks.answers import failed, missing, result_is
from aios.bench.tasks.filing import new_path, some_file, word_inside
from aios.bench.tasks.noting import found_note, kept, kept_note, subject_and_value
from aios.bench.tasks.play import Answer, Play, Script, Turn, Wish
from aios.bench.tasks.sums import UNITS, expression


def calc_write(play: Play) -> Turn:
    written, exact = expression(play)
    path = new_path(play)
    return _then_write(
        ("calculate", {"expression": exact}), path, play.say("calc_write", plain=True, e=written, p=path)
    )


def _then_write(call: Wish, path: str, user: str) -> Turn:
    def script() -> Script:
        (result,) = yield [call]
        if answer := failed(result):
            return answer
        yield [("write_file", {"path": path, "content": result})]
        return Answer(f"The result is {result}. I wrote it to {path}.", (result, path))

    return Turn("chain", user, script)


def read_compute(play: Play) -> Turn:
    number, n = abs(play.number()), play.whole(play.pick((1, 2, 3)))
    content = str(number) if play.chance(0.5) else f"{play.pick(play.words.fields)}: {number}"
    path = some_file(play, content)
    phrase, sign = play.pick((("read_add", "+"), ("read_times", "*")))

    def script() -> Script:
        (result,) = yield [("read_file", {"path": path})]
        found = re.search(r"-?\d+(\.\d+)?", result)
        if result.startswith("error: ") or found is None:
            return missing(path, result) or Answer(f"There is no number in {path}.")
        (result,) = yield [("calculate", {"expression": f"{found[0]} {sign} {n}"})]
        return failed(result) or Answer(f"The result is {result}.", (result,))

    return Turn("chain", play.say(phrase, p=path, n=n), script)


def sum_files(play: Play) -> Turn:
    values = [str(abs(play.number())) for _ in range(2)]
    p, q = (some_file(play, value) for value in values)
    play.last.pop("path", None)  # "that file" would be either

    def script() -> Script:
        one, two = yield [("read_file", {"path": p}), ("read_file", {"path": q})]
        if answer := missing(p, one) or missing(q, two):
            return answer
        (result,) = yield [("calculate", {"expression": f"{one} + {two}"})]
        return failed(result) or Answer(f"The result is {result}.", (result,))

    return Turn("chain", play.say("sum_files", p=p, q=q), script)


def copy(play: Play) -> Turn:
    path, target = some_file(play), new_path(play)
    move = play.chance(0.35)
    user = play.say("move" if move else "copy", p=path, q=target)

    def script() -> Script:
        (result,) = yield [("read_file", {"path": path})]
        if answer := missing(path, result):
            return answer
        (done,) = yield [("write_file", {"path": target, "content": result})]
        if move and not done.startswith("error: "):
            (done,) = yield [("delete_file", {"path": path})]
        said = f"I moved {path} to {target}." if move else f"I copied {path} to {target}."
        return failed(done) or Answer(said, (target,))

    return Turn("chain", user, script)


def recall_write(play: Play) -> Turn:
    subject, _, _ = kept_note(play)
    path = new_path(play)

    def script() -> Script:
        (result,) = yield [("recall", {"text": subject})]
        note = found_note(result, subject)
        if note is None:
            return failed(result) or Answer(f"I have no note about {subject}.", ("no",))
        yield [("write_file", {"path": path, "content": note[1]})]
        return Answer(f"I wrote {path}.", (path,))

    return Turn("chain", play.say("recall_write", x=subject, p=path), script)


def recall_convert(play: Play) -> Turn:
    kind = play.pick(("length", "mass", "volume", "temperature", "time"))
    first, second = play.rng.sample(UNITS[kind], 2)
    a, b = first.split()[-1], play.pick(second.split())
    value = abs(play.number())
    subject = subject_and_value(play)[0]
    play.notes.append(f"{subject} is {value} {a}")

    def script() -> Script:
        (result,) = yield [("recall", {"text": subject})]
        note = found_note(result, subject)
        if note is None:
            return failed(result) or Answer(f"I have no note about {subject}.", ("no",))
        (result,) = yield [("convert_units", {"value": value, "from_unit": a, "to_unit": b})]
        return failed(result) or Answer(f"{value} {a} is {result}.", (result.split()[0],))

    return Turn("chain", play.say("recall_convert", x=subject, b=b), script)


def date_chain(play: Play) -> Turn:
    day, n = play.date(), play.whole(play.pick((1, 2, 3)))
    step: Wish = ("add_days", {"date": day, "days": n})
    if play.chance(0.5):
        return _date_weekday(step, play.say("date_weekday", n=n, d=day))
    subject = subject_and_value(play)[0]
    return _then_remember(step, subject, play.say("date_remember", plain=True, n=n, d=day, x=subject), "date")


def _date_weekday(step: Wish, user: str) -> Turn:
    def script() -> Script:
        (found,) = yield [step]
        if answer := failed(found):
            return answer
        (result,) = yield [("weekday", {"date": found})]
        return failed(result) or Answer(f"{found} is a {result}.", (result,))

    return Turn("chain", user, script)


def _then_remember(step: Wish, subject: str, user: str, what: str) -> Turn:
    def script() -> Script:
        (found,) = yield [step]
        if answer := failed(found):
            return answer
        yield [("remember", {"text": f"{subject} is {found}"})]
        return Answer(f"The {what} is {found}. I have noted it.", (found,))

    return Turn("chain", user, script)


def calc_remember(play: Play) -> Turn:
    written, exact = expression(play)
    subject = subject_and_value(play)[0]
    user = play.say("calc_remember", plain=True, e=written, x=subject)
    return _then_remember(("calculate", {"expression": exact}), subject, user, "result")


def read_remember(play: Play) -> Turn:
    path = some_file(play, play.phrase())

    def script() -> Script:
        (result,) = yield [("read_file", {"path": path})]
        if answer := missing(path, result):
            return answer
        (done,) = yield [("remember", {"text": result})]
        return failed(done) or kept(done)

    return Turn("chain", play.say("read_remember", p=path), script)


def search_read(play: Play) -> Turn:
    for _ in range(play.pick((0, 1, 2))):
        play.file()
    path = some_file(play, play.phrase())
    word = word_inside(play, path)

    def script() -> Script:
        (result,) = yield [("search_files", {"text": word})]
        if result == "nothing found" or result.startswith("error: "):
            return failed(result) or Answer("No file mentions it.", ("no",))
        first = result.split("\n")[0]
        (result,) = yield [("read_file", {"path": first})]
        return missing(first, result) or Answer(f"{first} says: {result}", (first, result))

    return Turn("chain", play.say("search_read", x=word), script)


def read_both(play: Play) -> Turn:
    p, q = (some_file(play, play.phrase()) for _ in range(2))
    play.last.pop("path", None)  # "that file" would be either

    def script() -> Script:
        one, two = yield [("read_file", {"path": p}), ("read_file", {"path": q})]
        said = [missing(path, r) or Answer(f"{path} says: {r}", (r,)) for path, r in ((p, one), (q, two))]
        return Answer(
            "\n".join(answer.text for answer in said), tuple(f for answer in said for f in answer.facts)
        )

    return Turn("several", play.say("read_both", p=p, q=q), script)


def several(play: Play) -> Turn:
    """Two or three independent requests in one message: all the calls go out at once."""
    parts = [play.pick(_SHORT)(play) for _ in range(play.pick((2, 2, 2, 3)))]
    user = parts[0][0]
    for part in parts[1:]:
        user = play.say("and", plain=True, a=user, b=part[0][0].lower() + part[0][1:])
    play.last.pop("path", None)

    def script() -> Script:
        results = yield [part[1] for part in parts]
        said = [failed(r) or part[2](r) for part, r in zip(parts, results, strict=True)]
        return Answer(
            " ".join(answer.text for answer in said), tuple(f for answer in said for f in answer.facts)
        )

    return Turn("several", user, script)


_Short = tuple[str, Wish, Callable[[str], Answer]]


def _short_calc(play: Play) -> _Short:
    a, b, sign = play.number(), abs(play.number()), play.pick("+-*/")
    exact = f"{a} {sign} {b}"
    return (
        play.say("calc", plain=True, e=exact).rstrip("?.:= "),
        ("calculate", {"expression": exact}),
        result_is,
    )


def _short_weekday(play: Play) -> _Short:
    day = play.date()
    user = play.say("weekday", plain=True, d=day).rstrip("?. ")
    return user, ("weekday", {"date": day}), lambda r: Answer(f"{day} is a {r}.", (r,))


def _short_units(play: Play) -> _Short:
    first, second = play.rng.sample(UNITS[play.pick(list(UNITS))], 2)
    a, b, value = play.pick(first.split()), play.pick(second.split()), abs(play.number())
    call: dict[str, Any] = {"value": value, "from_unit": a, "to_unit": b}
    user = play.say("units", plain=True, v=value, a=a, b=b)
    return user, ("convert_units", call), lambda r: Answer(f"{value} {a} is {r}.", (r.split()[0],))


def _short_write(play: Play) -> _Short:
    path, text = new_path(play), play.content().split("\n")[0]
    user = play.say("write", plain=True, q=f'"{text}"', p=path)
    return (
        user,
        ("write_file", {"path": path, "content": text}),
        lambda r: Answer(f"I wrote {path}.", (path,)),
    )


def _short_remember(play: Play) -> _Short:
    subject, value = subject_and_value(play)
    text = f"{subject} is {value}"
    return play.say("remember", plain=True, x=text), ("remember", {"text": text}), kept


_SHORT = (_short_calc, _short_calc, _short_weekday, _short_units, _short_write, _short_remember)
