"""Turns that ask for a made-up tool: by its name or by what it does, with its arguments in any order."""

from typing import Any

from aios.bench.tasks.invented import Field, Invented, answer_result
from aios.bench.tasks.play import Play, Script, Turn


def mention(play: Play, field: Field, value: Any) -> str:
    """How a user says one argument."""
    key = field.name.replace("_", " ") if play.chance(0.6) else field.name
    if isinstance(value, bool):
        plain = (
            play.pick(("with {k}", "{k} on", "{k} yes"))
            if value
            else play.pick(("without {k}", "no {k}", "{k} off"))
        )
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
    shapes = (
        "{k} {v}",
        "{k} {v}",
        "{k}: {v}",
        "{k}={v}",
        "{k} is {v}",
        "{v} as {k}",
        "the {k} {v}",
        "{k} = {v}",
        "a {k} of {v}",
    )
    return str(play.pick(shapes)).format(k=key, v=text)


def use(play: Play, tool: Invented, kind: str, told: bool) -> Turn:
    """A turn that asks for the tool: `told` by what it does, else by its name."""
    chosen = [field for field in tool.fields if not field.optional or play.chance(0.5)]
    values = {field.name: field.draw() for field in chosen}
    order = play.rng.sample(chosen, len(chosen)) if play.chance(0.5) else chosen
    said = play.pick((", ", ", ", ", ", " and ", "; ", " ")).join(
        mention(play, f, values[f.name]) for f in order
    )
    way = "tool_told" if told else "tool_named"
    blanks = {"tool": tool.spec.name, "act": tool.act, "args": said}
    user = play.say(
        way if chosen else {"tool_told": "tool_told_bare", "tool_named": "tool_bare"}[way],
        bool(chosen),
        **blanks,
    )
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
