"""From a job to a run: the prompt is written, measured and refused here, before anything is computed.

Owns what the engine takes and what it does not. It knows the chat template and the window, no weights.
"""

from collections.abc import Sequence

from aios.abi.errors import ContextOverflow, InvalidArgument
from aios.abi.messages import Message, Sampling, ToolCall, ToolSpec
from aios.drivers.engine_answer import Answer, Answers
from aios.drivers.engine_branches import branches_of
from aios.drivers.engine_runs import Run
from aios.drivers.llm import Generation
from aios.drivers.models.model import Chat
from aios.drivers.models.schema_form import check_depth, check_schema
from aios.drivers.models.schema_text import choices_of, is_list, items_of, tool_line, value_texts


class Prompts:
    """The runs of one model."""

    def __init__(self, chat: Chat, model: str, window: int) -> None:
        self._chat, self._model, self._window = chat, model, window
        self._answers = Answers(chat, window)
        self._longest_token = max(len(chat.surface(token)) for token in range(chat.vocab_size))

    def run(self, run_id: int, job: Generation) -> Run:
        """`ContextOverflow` when no token of an answer fits, `InvalidArgument` for what can not be done."""
        if unknown := [token for token in job.sampling.logit_bias if not 0 <= token < self._chat.vocab_size]:
            raise InvalidArgument(
                f"logit_bias names token {unknown[0]}; {self._model} has the tokens 0 to "
                f"{self._chat.vocab_size - 1}"
            )
        prompt = self.encode(job.messages, job.tools, job.tool_choice)
        if len(prompt) >= self._window:
            limit = self._window - 1
            raise ContextOverflow(f"the prompt has {len(prompt)} tokens; {self._model} takes {limit}")
        tools, schema = _callable(job), job.response_schema
        if schema is not None:
            check_depth(schema, "response_schema")
        _check_search(job.sampling)

        def begin(number: int) -> Answer:
            return self._answers.begin(prompt, job.sampling, job.tools, tools, schema, number)

        return Run(run_id, job, prompt, branches_of(job.sampling, begin))

    def encode(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], tool_choice: str = "auto"
    ) -> list[int]:
        """The tokens of a prompt. `InvalidArgument` where it can't be written."""
        _check_forms(messages, tools)
        self._refuse_hopeless(messages, () if tool_choice == "none" else tools)
        return self._chat.encode(messages, tools, tool_choice)

    def _refuse_hopeless(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
        """Refuse what is far too long unread: to split megabytes into tokens would hold up everybody."""
        length = sum(map(_message_chars, messages)) + sum(map(_tool_chars, tools))
        if length > self._window * self._longest_token:
            limit = f"{self._model} takes {self._window} tokens"
            raise ContextOverflow(f"the prompt has {length} characters; {limit}")


def _check_forms(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
    """`InvalidArgument` for what nobody could read."""
    for message in messages:
        for call in message.tool_calls:
            check_depth(call.arguments, f"the arguments of a call of {call.name!r}")
    for tool in tools:
        check_schema(tool.parameters, f"the parameters of the tool {tool.name!r}")


def _message_chars(message: Message) -> int:
    return len(message.text) + sum(map(_call_chars, message.tool_calls))


def _call_chars(call: ToolCall) -> int:
    values = [text for value in call.arguments.values() for text in value_texts(value)]
    return len(call.name) + sum(map(len, call.arguments)) + sum(map(len, values))


def _tool_chars(tool: ToolSpec) -> int:
    """What a tool has to be read: its line, or the choices of its lists, which the line may leave out."""
    fields = tool.parameters.get("properties", {}).values()
    choices = [text for field in fields if is_list(field) for text in choices_of(items_of(field)) or ()]
    return max(len(tool_line(tool)), sum(map(len, choices)))


def _check_search(sampling: Sampling) -> None:
    """`InvalidArgument` for beams that draw lots, or are asked for more answers than they can find."""
    if sampling.beams is None:
        return
    if sampling.temperature or sampling.top_k or sampling.top_p < 1 or sampling.min_p:
        raise InvalidArgument("beams are searched at temperature 0, without top_k, top_p and min_p")
    if sampling.n > sampling.beams.width:
        raise InvalidArgument(
            f"n is {sampling.n}; {sampling.beams.width} beams find no more answers than that"
        )


def _callable(job: Generation) -> tuple[ToolSpec, ...]:
    """The tools that the answer may call. `InvalidArgument` where it must call one that is not there."""
    if job.tool_choice in ("auto", "none"):
        return tuple(job.tools) if job.tool_choice == "auto" else ()
    tools = [tool for tool in job.tools if job.tool_choice in ("required", tool.name)]
    if not tools:
        raise InvalidArgument(f"tool_choice is {job.tool_choice!r}, and there is no such tool in tools")
    return tuple(tools)
