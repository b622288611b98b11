"""Turns about notes: keeping, finding, changing and forgetting them."""

from aios.bench.tasks.answers import failed, joined, single
from aios.bench.tasks.play import Answer, Play, Script, Turn


def subject_and_value(play: Play) -> tuple[str, str]:
    """What a note is about, and its value."""
    attribute = (
        play.pick(play.words.attributes)
        if play.chance(0.8)
        else play.pick(play.words.fields).replace("_", " ")
    )
    draw = play.rng.random()
    value = (
        play.code()
        if draw < 0.35
        else str(play.whole())
        if draw < 0.55
        else play.made_word()
        if draw < 0.7
        else play.date()
        if draw < 0.8
        else play.pick(play.words.cities)
        if draw < 0.9
        else play.thing()
    )
    draw = play.rng.random()
    if draw < 0.6:
        return f"{play.name()}'s {attribute}", value
    if draw < 0.9:
        return f"the {attribute} of the {play.thing()}", value
    return f"the {play.pick(play.words.adjectives)} {attribute}", value


def kept_note(play: Play) -> tuple[str, str, str]:
    """A note that is kept already, among others: its subject, its value, its text."""
    subject, value = subject_and_value(play)
    text = f"{subject} is {value}"
    for _ in range(play.pick((0, 0, 1, 2, 3))):
        other, thing = subject_and_value(play)
        if play.chance(0.3):
            other = (
                subject.split("'s ")[0] + "'s " + play.pick(play.words.attributes)
                if "'s " in subject
                else other
            )
        if other.lower() != subject.lower():
            play.notes.append(f"{other} is {thing}" if play.chance(0.8) else play.phrase())
    play.notes.insert(play.rng.randrange(len(play.notes) + 1), text)
    return subject, value, text


def remember(play: Play) -> Turn:
    subject, value = subject_and_value(play)
    text = f"{subject} is {value}" if play.chance(0.7) else play.phrase()
    if play.chance(0.25):
        tags = [
            play.pick((play.made_word(), play.pick(play.words.nouns))) for _ in range(play.pick((1, 2, 2, 3)))
        ]
        said = joined(tags) if play.chance(0.5) else ", ".join(tags)
        user = play.say("remember_tags", plain=True, x=text, tags=said)
        return Turn("remember", user, single(("remember", {"text": text, "tags": tags}), kept))
    return Turn(
        "remember", play.say("remember", plain=True, x=text), single(("remember", {"text": text}), kept)
    )


def kept(result: str) -> Answer:
    return Answer(f"Noted, {result}.")


def found_note(result: str, subject: str) -> tuple[str, str] | None:
    """The id and text of the note on a subject among the notes found."""
    for line in result.split("\n"):
        note_id, _, text = line.partition(": ")
        if text.lower().startswith(f"{subject.lower()} is "):
            return note_id, text
    return None


def recall(play: Play) -> Turn:
    subject = kept_note(play)[0] if play.chance(0.9) else subject_and_value(play)[0]
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
    note = found_note(result, subject)
    if note is None:
        return Answer(f"I have no note about {subject}.", ("no",))
    text = note[1]
    return Answer(f"{text[0].upper()}{text[1:]}.", (text.rsplit(" is ", 1)[1],))


def change_note(play: Play) -> Turn:
    subject, _, _ = kept_note(play)
    draw = play.rng.random()
    if draw < 0.25:
        note_id = f"n{play.rng.randrange(1, len(play.notes) + 1)}"
        user = play.say("forget_id", i=note_id)
        return Turn(
            "change_note",
            user,
            single(("forget", {"note_id": note_id}), lambda r: Answer(f"I {r}.", (note_id,))),
        )
    text = f"{subject} is {subject_and_value(play)[1]}"
    forget = draw < 0.6
    user = play.say("forget", x=subject) if forget else play.say("update_note", plain=True, x=subject, y=text)

    def script() -> Script:
        (result,) = yield [("recall", {"text": subject})]
        note = found_note(result, subject)
        if note is None:
            return failed(result) or Answer(f"I have no note about {subject}.", ("no",))
        call = (
            ("forget", {"note_id": note[0]})
            if forget
            else ("update_note", {"note_id": note[0], "text": text})
        )
        (result,) = yield [call]
        return failed(result) or Answer(f"I {result}.", (note[0],))

    return Turn("change_note", user, script)
