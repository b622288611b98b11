"""Turns that need no tool: greetings, requests that no tool fits, and what was said before."""

from aios.bench.tasks.play import Answer, Play, Script, Turn


def greet(play: Play) -> Turn:
    return _plain("greet", play.fill("greet"), "Hello! How can I help you?")


def thanks(play: Play) -> Turn:
    return _plain("greet", play.fill("thanks"), "You are welcome.")


def who(play: Play) -> Turn:
    return _plain("greet", play.fill("who"), "I am a small assistant that runs on AIOS.")


def abilities(play: Play) -> Turn:
    """What can it do: the first tools in view, by name."""

    def script() -> Script:
        yield from ()
        named = play.in_view[:_NAMED]
        if not named:
            return Answer("I have no tools here, but I can talk with you.", ("no tools",))
        more = " and more" if len(play.in_view) > _NAMED else ""
        return Answer(f"I can use these tools: {', '.join(named)}{more}.", (named[0],))

    return Turn("greet", play.fill("abilities"), script)


_NAMED = 4
"""How many tools are named when it is asked what it can do."""


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
    value = play.pick(
        (play.code(), play.made_word(), play.whole(), play.name(), play.pick(play.words.cities), play.thing())
    )
    play.told[thing] = str(value)
    return _plain("context", play.say("say", plain=True, x=thing, v=value), "Thanks for telling me.")


def ask(play: Play) -> Turn:
    thing = play.pick(list(play.told))
    value = play.told[thing]
    return _plain("context", play.say("ask", x=thing), f"Your {thing} is {value}.", (value,))


def text(play: Play) -> Turn:
    facts = [
        (play.pick((play.name(), f"the {play.thing()}")), play.pick(play.words.attributes), play.code())
        for _ in range(play.pick((1, 2, 3)))
    ]
    told = [play.say("fact", plain=True, s=s, x=x, v=v) for s, x, v in facts]
    if play.chance(0.4):
        told.insert(play.rng.randrange(len(told) + 1), play.sentence().rstrip("."))
    s, x, v = play.pick(facts)
    question = play.say("fact_ask", plain=True, s=s, x=x)
    user = play.say("text", plain=True, t=". ".join(told) + ".", q=question)
    return _plain("context", user, f"The {x} of {s} is {v}.", (v,))
