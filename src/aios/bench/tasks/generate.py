"""From a seed to a task: which turns, which tools in view, which system prompt."""

import random
from collections.abc import Callable

from aios.bench.tasks import chains, filing, noting, sums, talk
from aios.bench.tasks.asking import use, use_again
from aios.bench.tasks.invented import Invented
from aios.bench.tasks.inventing import invent
from aios.bench.tasks.lexicon import Split, blended, lexicon
from aios.bench.tasks.play import Play, Turn
from aios.bench.tasks.task import CLOCK, Task

Maker = Callable[[Play], Turn]

_FILES = (
    "write_file",
    "append_file",
    "read_file",
    "list_files",
    "search_files",
    "file_history",
    "rollback_file",
    "delete_file",
)
_NOTES = ("remember", "recall", "update_note", "forget")
_SUMS = ("calculate", "convert_units", "add_days", "days_between", "weekday", "current_time")
BUILTIN_NAMES = (*_SUMS, *_NOTES, *_FILES)

_TURNS: dict[str, tuple[float, tuple[Maker, ...], tuple[str, ...]]] = {
    "calc": (7, (sums.calc,), ("calculate",)),
    "units": (4, (sums.units,), ("convert_units",)),
    "dates": (4, (sums.dates,), ("add_days", "days_between", "weekday", "current_time")),
    "remember": (3, (noting.remember,), ("remember",)),
    "recall": (5, (noting.recall,), ("recall",)),
    "change_note": (4, (noting.change_note,), ("recall", "update_note", "forget")),
    "write": (4, (filing.write,), ("write_file",)),
    "append": (3, (filing.append,), ("append_file",)),
    "read": (4, (filing.read,), ("read_file",)),
    "list": (2.5, (filing.listing,), ("list_files",)),
    "search": (3, (filing.search,), ("search_files",)),
    "versions": (3, (filing.versions,), ("file_history", "rollback_file")),
    "delete": (2.5, (filing.delete,), ("delete_file",)),
    "greet": (2, (talk.greet, talk.thanks, talk.who, talk.greet, talk.abilities), ()),
    "unfit": (3.5, (talk.unfit,), ()),
    "context": (4, (talk.text, talk.say), ()),
    "several": (
        5,
        (chains.several, chains.several, chains.several, chains.read_both),
        ("calculate", "weekday", "convert_units", "write_file", "remember", "read_file"),
    ),
    "calc_write": (2, (chains.calc_write,), ("calculate", "write_file")),
    "read_compute": (2.5, (chains.read_compute, chains.sum_files), ("read_file", "calculate")),
    "copy": (2.5, (chains.copy,), ("read_file", "write_file", "delete_file")),
    "recall_chain": (
        3,
        (chains.recall_write, chains.recall_convert),
        ("recall", "write_file", "convert_units"),
    ),
    "date_chain": (2.5, (chains.date_chain,), ("add_days", "weekday", "remember")),
    "note_chain": (2.5, (chains.calc_remember, chains.read_remember), ("calculate", "read_file", "remember")),
    "search_read": (1.5, (chains.search_read,), ("search_files", "read_file")),
}
"""By kind: how often in training, what makes a turn of it, and the tools that it needs."""

AGENT_PROMPT = "You are a helpful assistant. Use the tools when they help, then answer briefly."
"""What the SDK's agents say first; also the most frequent prompt here."""

_INVENTED_WEIGHT = 32.0
KINDS = (*_TURNS, "invented", "turns")
"""Every kind of task that `generate` can be asked for."""


def generate(seed: int, split: Split, kind: str | None = None, blend: bool = False) -> Task:
    """The task of a seed. `kind` is one of `KINDS`; None draws a mixed conversation, as in training.

    With `blend` many of its words are new ones, as `blended` makes them.
    """
    rng = random.Random(f"{split} {seed} {kind}")
    play = Play(rng, blended(lexicon(split), rng) if blend else lexicon(split))
    clock = CLOCK if split == "heldout" else float(rng.randrange(946_684_800, 2_208_988_800))  # 2000 to 2039
    if kind is None or kind == "turns":
        num_turns = play.pick((2, 3, 3, 4, 4, 5, 6)) if kind is None else 3
        return _Conversation(play, seed, kind or "mixed", num_turns).task(clock)
    return _Conversation(play, seed, kind, 1).task(clock)


class _Conversation:
    """A task on the way: the turns so far, and the tools that they need."""

    def __init__(self, play: Play, seed: int, kind: str, num_turns: int) -> None:
        self.play, self.seed, self.kind = play, seed, kind
        self.invented: list[Invented] = []
        self.needed: list[str] = []
        self.turns: list[Turn] = []
        self.banned: set[str] = set()
        self.absent: list[str] = []
        self.wide = play.chance(0.1)
        if play.chance(0.06) and kind in ("mixed", "unfit", "greet", "context"):
            self._talk(num_turns)
        else:
            self._work(num_turns)

    def _talk(self, num_turns: int) -> None:
        """Turns that need no tool, so that there may be none in view."""
        self.wide = False
        for _ in range(num_turns):
            self._add(self.kind if self.kind != "mixed" else self.play.pick(("greet", "unfit", "context")))

    def _work(self, num_turns: int) -> None:
        for number in range(num_turns):
            if self.kind in _TURNS or self.kind == "invented":
                self._add(self.kind)
            elif number and not self.banned and self.play.chance(0.35) and (more := self._follow()):
                self.turns.append(more)
            else:
                names = (*_TURNS, "invented")
                weights = [*(row[0] for row in _TURNS.values()), _INVENTED_WEIGHT]
                self._add(self.play.rng.choices(names, weights)[0])

    def _add(self, kind: str) -> None:
        play = self.play
        last, play.last = play.last, {}
        if kind == "invented":
            self.turns.append(self._invented())
            return
        _, makers, tools = _TURNS[kind]
        if self.banned.intersection(tools):
            self.turns.append(self._invented())
            return
        if kind == "unfit" and play.chance(0.5):
            self.turns.append(self._unfit())
            return
        self.turns.append(play.pick(makers)(play))
        self.needed += tools
        if kind in ("context", "greet", "unfit"):
            play.last = last if kind == "greet" else play.last

    def _follow(self) -> Turn | None:
        """A turn that goes on from what was said before, if there is anything to go on from."""
        play, choices = self.play, list[Maker]()
        if "number" in play.last:
            choices += [sums.calc_more, sums.calc_more, filing.write_it]
            self.needed += ["write_file"]
        if "units" in play.last:
            choices.append(sums.units_more)
        if "path" in play.last:
            choices += [filing.read_it, filing.read_it, filing.delete_it]
            self.needed += ["read_file", "delete_file"]
        if play.told:
            choices.append(talk.ask)
        if "use" in play.last and play.last["use"][1]:
            choices.append(lambda play: use_again(play, "invented"))
        return play.pick(choices)(play) if choices else None

    def _invented(self) -> Turn:
        play = self.play
        if self.invented and play.chance(0.4):
            tool = play.pick(self.invented)
        else:
            tool = self._offer_one()
        for _ in range(play.pick((0, 0, 1, 1, 2))):
            verb, noun = play.pick(((_verb(tool), ""), ("", _noun(tool)), ("", "")))
            self._offer(invent(play, verb, noun))
        names = [other.spec.name for other in self.invented if other.act == tool.act]
        return use(play, tool, "invented", told=len(names) == 1 and play.chance(0.55))

    def _unfit(self) -> Turn:
        """A request that one tool would fit, were it in view."""
        play = self.play
        kind = play.pick([name for name, row in _TURNS.items() if row[2]])
        tools = _TURNS[kind][2]
        if play.chance(0.5) or set(tools) & set(self.needed):
            tool = invent(play)
            acts = {word for other in self.invented for word in other.act.split()}
            if acts & set(tool.act.split()) - {"a", "the"}:
                return talk.unfit(play)
            self.absent += tool.act.split()
            turn = use(play, tool, "unfit", told=True)
        else:
            self.banned.update(tools)
            turn = play.pick(_TURNS[kind][1])(play)
        play.last = {}
        return talk.no_tool(turn.user)

    def _offer_one(self) -> Invented:
        while True:
            tool = invent(self.play)
            if self._offer(tool):
                return tool

    def _offer(self, tool: Invented) -> bool:
        taken = {other.spec.name for other in self.invented} | set(BUILTIN_NAMES)
        acts = {_bare(other.act) for other in self.invented}
        if set(self.absent) & set(tool.act.split()) - {"a", "the"}:
            return False
        fresh = tool.spec.name not in taken and _bare(tool.act) not in acts
        if fresh:
            self.invented.append(tool)
        return fresh

    def task(self, clock: float) -> Task:
        play = self.play
        tools = play.in_view = self._tools()
        return Task(
            self.kind,
            self.seed,
            self._system(),
            tuple(tools),
            tuple(self.invented),
            play.files,
            tuple(play.notes),
            tuple(self.turns),
            play.pick(play.words.missing),
            clock,
        )

    def _tools(self) -> list[str]:
        play = self.play
        names = {*self.needed, *(tool.spec.name for tool in self.invented)}
        if not names and play.chance(0.3):
            return []
        for _ in range(play.pick((0, 1, 1, 2, 3))):
            names.update(
                play.pick(
                    ((play.pick(BUILTIN_NAMES),), (play.pick(BUILTIN_NAMES),), _NOTES, _FILES[:4], _SUMS[:2])
                )
            )
        if play.chance(0.08):
            names.update(BUILTIN_NAMES)
        while self.wide and len(names) < 18:
            self._offer_one()
            names.add(play.pick(BUILTIN_NAMES))
            names.update(tool.spec.name for tool in self.invented)
            names -= self.banned
        ordered = sorted(names - self.banned)
        play.rng.shuffle(ordered)
        return ordered

    def _system(self) -> str:
        play = self.play
        draw = play.rng.random()
        if self.wide and draw < 0.6:
            return " ".join([play.system(), *(play.sentence() for _ in range(play.rng.randrange(6, 45)))])
        if draw < 0.3:
            return AGENT_PROMPT
        if draw < 0.75:
            return " ".join([play.system(), *(play.sentence() for _ in range(play.pick((0, 0, 0, 1, 2, 5))))])
        return ""


def _bare(act: str) -> str:
    """What a tool does, without articles: two tools that differ only in these cannot be told apart."""
    return " ".join(word for word in act.split() if word not in ("a", "the"))


def _verb(tool: Invented) -> str:
    return tool.act.split(" ")[0]


def _noun(tool: Invented) -> str:
    return tool.act.split(" ")[-1]
