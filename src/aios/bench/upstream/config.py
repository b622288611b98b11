"""How an upstream behaves. One page; plain data, so that it can be sent to another process."""

from typing import Literal

from msgspec import Struct

from aios.bench.upstream.work import Work

Mode = Literal["slots", "rate", "burn", "memory", "engine", "shift"]


class Stage(Struct, frozen=True):
    """From `at_s` seconds after the begin on there are so many slots; with none it is an outage."""

    at_s: float
    slots: int


class UpstreamConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`slots`: a call beyond them is turned away with a 429 that says nothing but that it is one too many.

    `rate`: requests and tokens a minute, with OpenAI's headers. `burn`: the same, and rejected calls cost
    quota too, as OpenAI says of its own. `memory`: prompts and answers of all that runs must fit; what comes
    is let in, and when they no longer fit the call that came last dies, with the work that went into it.
    So do servers that run a model plainly and meet "CUDA out of memory": 503, or where the answer is streamed
    an error in the stream (vLLM would set the call back and compute it again, which is wasted as well).
    `engine`: waits in the server's own queue, first come, first served, and is never turned away, as with
    vLLM. `shift`: slots whose number changes.
    """

    mode: Mode = "slots"
    slots: int = 64
    """Calls at full speed at the same time. Under `rate` and `burn` 0 means no such limit; under `memory`
    more may run, and share the speed of so many."""
    rpm: int = 0
    tpm: int = 0
    """Requests and tokens (prompt and answer, charged at the begin) a minute; 0 for no such limit."""
    burst_s: float = 60.0
    """Seconds of quota that can be taken at once; a minute's, as with OpenAI."""
    tells: bool = True
    """Whether rate headers and Retry-After are sent."""
    burn_share: float = 1.0
    """What a rejected call costs under `burn`, of what it would have cost."""
    cache_tokens: int = 0
    """Room of a prefix cache; what it holds of a prompt is not read again."""
    memory_tokens: int = 0
    """Room for prompts and answers, under `memory`."""
    stages: tuple[Stage, ...] = ()
    """Under `shift`, by time. Who runs when slots are taken away is let finish; an outage ends it."""
    outage: Literal["reset", "503"] = "reset"
    """What an outage looks like: connections break, or a proxy before the server answers for it."""
    prefill_s_per_token: float = 0.0005
    decode_s_per_token: float = 0.02
    """Seconds at full speed."""
    tick_s: float = 0.1
    """An answer comes in pieces of so much time, the first as soon as there is a token; 0: in one piece."""
    error_share: float = 0.0
    """Tries that are answered 500 at once."""
    cut_share: float = 0.0
    """Tries whose connection breaks somewhere in the middle of the work."""
    seed: int = 0
    """Of the failures: a given try of a given call always meets the same."""

    def __post_init__(self) -> None:
        if self.mode in ("rate", "burn"):
            _require(self.rpm > 0 or self.tpm > 0, f"mode {self.mode} needs rpm or tpm")
        else:
            _require(self.slots > 0, f"mode {self.mode} needs slots")
        _require(self.mode != "memory" or self.memory_tokens > 0, "mode memory needs memory_tokens")
        _require(self.mode != "memory" or not self.cache_tokens, "mode memory needs cache_tokens 0")
        _require(self.mode != "shift" or bool(self.stages), "mode shift needs stages")
        _require(self.decode_s_per_token > 0, "decode times are above 0")
        _require(self.tick_s > 0 or self.mode != "memory", "mode memory needs ticks, to see what fits")

    def service_s(self, work: Work) -> float:
        """What a call takes at full speed."""
        return work.n_in * self.prefill_s_per_token + work.n_out * self.decode_s_per_token


def _require(is_met: bool, rule: str) -> None:
    if not is_met:
        raise ValueError(rule)
