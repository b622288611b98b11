"""Turns about files: writing, reading, finding, their versions, deleting."""

import re
from collections.abc import Callable

from aios.bench.tasks.answers import failed, joined, missing, single
from aios.bench.tasks.play import Answer, Play, Script, Turn


def new_path(play: Play) -> str:
    path = play.path()
    play.last["path"] = path
    return path


def some_file(play: Play, content: str | None = None) -> str:
    path = play.file(content)
    play.last["path"] = path
    return path


def write(play: Play) -> Turn:
    path, text = new_path(play), play.content().split("\n")[0] if play.chance(0.85) else play.content()
    return _written("write_file", path, text, play.say("write", plain=True, q=_set_off(play, text), p=path))


def append(play: Play) -> Turn:
    path = some_file(play) if play.chance(0.8) else new_path(play)
    text = play.content().split("\n")[0]
    return _written("append_file", path, text, play.say("append", plain=True, q=_set_off(play, text), p=path))


def _set_off(play: Play, text: str) -> str:
    """A text in quotes wherever it has a word that could belong to the sentence around it."""
    return (
        play.quoted(text) if not re.search(r" (in|to|into|and|with|at|on)\b|[:,\n\"']", text) else f'"{text}"'
    )


def _written(tool: str, path: str, text: str, user: str) -> Turn:
    said = f"I wrote {path}." if tool == "write_file" else f"I added that to {path}."
    call = (tool, {"path": path, "content": text})
    return Turn(tool.removesuffix("_file"), user, single(call, lambda r: Answer(said, (path,))))


def write_it(play: Play) -> Turn:
    path = new_path(play)

    def script() -> Script:
        value = play.last.get("value", "0")
        (result,) = yield [("write_file", {"path": path, "content": value})]
        return failed(result) or Answer(f"I wrote {path}.", (path,))

    return Turn("write", play.say("write_it", p=path), script)


def read(play: Play) -> Turn:
    path = some_file(play) if play.chance(0.85) else new_path(play)
    return _reading(path, play.say("read", p=path))


def read_it(play: Play) -> Turn:
    return _reading(play.last["path"], play.say("read_it"))


def _reading(path: str, user: str) -> Turn:
    return Turn("read", user, _on_file("read_file", path, _says))


def _on_file(tool: str, path: str, told: Callable[[str], Answer]) -> Callable[[], Script]:
    """One call about a file that may not be there."""

    def script() -> Script:
        (result,) = yield [(tool, {"path": path})]
        return missing(path, result) or told(result)

    return script


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


def word_inside(play: Play, path: str) -> str:
    """A word that only this file holds, whatever endings a search cuts off; made up if none does."""
    others = " ".join(f"{p} {c}" for p, contents in play.files.items() if p != path for c in contents)
    taken = {word[:_STEM] for word in re.findall(r"\w+", others.casefold())}
    words = [w for w in re.findall(r"[\w-]+", play.files[path][-1]) if len(w) > 3]
    alone = [w for w in words if not taken & {piece[:_STEM] for piece in re.findall(r"\w+", w.casefold())}]
    return str(play.pick(alone)) if alone else play.made_word()


_STEM = 4
"""Letters that tell words apart for certain."""


def search(play: Play) -> Turn:
    for _ in range(play.pick((0, 1, 2))):
        play.file()
    path = play.file()
    word = word_inside(play, path) if play.chance(0.85) else play.made_word()
    user = play.say("search", x=play.quoted(word) if play.chance(0.3) else word)
    return Turn("search", user, single(("search_files", {"text": word}), _located))


def _located(result: str) -> Answer:
    if result == "nothing found":
        return Answer("No file mentions it.", ("no",))
    return Answer(f"It is in {joined(result.split(chr(10)))}.", tuple(result.split("\n")))


def _versioned(play: Play) -> str:
    path = some_file(play, play.content())
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
    def counted(result: str) -> Answer:
        count = len(result.split("\n"))
        return Answer(f"{path} has {count} version{'s' if count > 1 else ''}.", (str(count),))

    return Turn("versions", user, _on_file("file_history", path, counted))


def _back(path: str, version: int, user: str) -> Turn:
    call = ("rollback_file", {"path": path, "version": version})
    said = f"{path} is back to version {version}."
    return Turn("versions", user, single(call, lambda r: Answer(said, (path, str(version)))))


def delete(play: Play) -> Turn:
    path = some_file(play) if play.chance(0.88) else new_path(play)
    return _deleting(path, play.say("delete", p=path))


def delete_it(play: Play) -> Turn:
    return _deleting(play.last["path"], play.say("delete_it"))


def _deleting(path: str, user: str) -> Turn:
    told = Answer(f"I deleted {path}.", (path,))
    return Turn("delete", user, _on_file("delete_file", path, lambda _: told))
