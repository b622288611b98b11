"""ReAct with a function and a tool of the kernel's: `aios run examples/react.py "What is 17% of 250?"`."""

import aios


def weather(city: str) -> str:
    """The weather in a city now."""
    return f"It is 18 degrees and sunny in {city}."


@aios.agent
async def assistant(agent: aios.Agent, task: str) -> str:
    return await aios.ReAct(tools=[weather, "calculate"]).run(agent, task)
