"""An endpoint with a model: what it says next follows from the conversation and the tokens so far alone.

It speaks the wires of vLLM, llama.cpp and Anthropic, goes on with a partial answer in the way of each, and
is as strict about it: a mark that does not fit, or white space at the end of a prefill, is refused. Its
tokenizer takes words in halves, so that half a word has other tokens than the word's first half.
"""

import json
import random
import re
from collections.abc import Iterator
from typing import Any, Literal

from fakes.upstream import Asked, Script, Upstream, chunk, event, refusal, usage
from fakes.wires import SSE, message_end, message_start, named

Way = Literal["exact", "prefill", "anthropic", "none"]

_WORDS = ("agent", "core", "naïve", "slot", "日本語", "preempted", "snapshot", "I", "tokens", "END", "b")
_GAPS = (" ", " ", " ", "\n\n", "\n  ")
_MARKS = (",", "\n  -")
_REFUSED = (
    "This model does not support assistant message prefill. The conversation must end with a user message."
)


def tokens_of(text: str) -> list[str]:
    """Of a text: the space before a word, or a mark, is part of its first token."""
    found = []
    for word in re.findall(r"\s*[,\-]|\s*[^\s,\-]+|\s+$", text):
        half = max(1, len(word) // 2)
        found += [part for part in (word[:half], word[half:]) if part]
    return found


def answer_of(seed: int, conversation: str, said: str) -> Iterator[str]:
    """The words and marks that follow `said`, to the end of the answer."""
    most = random.Random(f"{seed}/{conversation}").randint(10, 80)
    while True:
        tokens = tokens_of(said)
        draw = random.Random(f"{seed}/{conversation}/{tokens}")
        if len(tokens) > most:
            return
        word = draw.choice(_MARKS) if said and draw.random() < 0.2 else draw.choice(_WORDS)
        if said and word not in _MARKS:
            word = draw.choice(_GAPS) + word
        said += word
        yield word


class ContinuingUpstream(Upstream):
    """An endpoint that goes on with partial answers in a `way`."""

    def __init__(self, way: Way, seed: int = 7) -> None:
        super().__init__()
        self.way = way
        self._seed = seed
        self.scripts_first: list[Script] = []
        """What it answers first, in place of the model."""

    def _script_for(self, asked: Asked) -> Script:
        if self.scripts_first:
            return self.scripts_first.pop(0)
        body = asked.body
        messages = list(body["messages"])
        said = _text(messages.pop()) if messages[-1]["role"] == "assistant" else ""
        if refused := self._refused(body, said):
            return refusal(400, {"error": {"type": "invalid_request_error", "message": refused}})
        if self.way == "exact":
            said = said.strip()  # as many chat templates do
        prompt = json.dumps([(message["role"], _text(message)) for message in messages])
        return self._told(body, said, prompt)

    def _refused(self, body: dict[str, Any], said: str) -> str:
        goes_on = body.get("continue_final_message", False)
        match self.way:
            case "exact" if goes_on and body.get("add_generation_prompt", True):
                return "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            case "exact" if bool(said) != goes_on:
                return "the last message is not to be gone on with"
            case "anthropic" if said != said.rstrip():
                return "messages: final assistant content cannot end with trailing whitespace"
            case "none" if said:
                return _REFUSED
        return ""

    def _told(self, body: dict[str, Any], said: str, prompt: str) -> Script:
        num_before = len(prompt) // 4 + len(tokens_of(said))
        told, finish = self._generate(body, said, prompt)
        if self.way == "anthropic":
            return _anthropic(told, finish, num_before)
        continuous = body["stream_options"].get("continuous_usage_stats", False)
        pieces = []
        for number, token in enumerate(told, 1):
            counts = {"usage": usage(num_before, number)["usage"]} if continuous else {}
            pieces.append(event(chunk({"content": token}, **counts)))
        pieces += [event(chunk({}, finish)), event(usage(num_before, len(told))), event(b"[DONE]")]
        return Script(tuple(pieces), headers=SSE)

    def _generate(self, body: dict[str, Any], said: str, prompt: str) -> tuple[list[str], str]:
        """The tokens of the answer's rest, and how it ends. Stop strings are looked for in it alone."""
        limit = body["max_tokens"]
        stop = body.get("stop") or body.get("stop_sequences") or []
        text, told = "", []
        for word in answer_of(self._seed, prompt, said):
            for token in tokens_of(word):
                text += token
                told.append(token)
                places = [place for end in stop if (place := text.find(end)) >= 0]
                if places:
                    return _upto(told, min(places)), "stop"
                if len(told) == limit:
                    return told, "length"
        return told, "stop"


def _upto(tokens: list[str], size: int) -> list[str]:
    found = []
    for token in tokens:
        found.append(token[:size])
        size -= len(found[-1])
    return [token for token in found if token]


def _anthropic(told: list[str], finish: str, num_before: int) -> Script:
    pieces = [
        message_start(input_tokens=num_before, output_tokens=1),
        named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            named("content_block_delta", index=0, delta={"type": "text_delta", "text": token})
            for token in told
        ),
        named("content_block_stop", index=0),
        message_end("max_tokens" if finish == "length" else "end_turn", output_tokens=len(told)),
    ]
    return Script(tuple(pieces), headers=SSE)


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
