"""A conversation that remembers what an earlier one was told, and the facts that it kept.

`python examples/remember.py` starts a kernel of its own; with AIOS_URL set it uses that one. Every model can
do this; the larger it is, the better are the facts.
"""

import asyncio

import aios
from aios.sdk.memories.conversation import Conversation


@aios.agent
async def visitor(agent: aios.Agent, task: str) -> str:
    """Tells something in one conversation, and asks for it in another."""
    await Conversation().run(agent, "My name is Nora, and I am allergic to nuts.")
    answer = await Conversation().run(agent, task)
    facts = await agent.memory.search(tags=["fact"])
    return "\n".join([answer, *(f"fact: {hit.note.text}" for hit in facts.hits)])


async def main() -> None:
    async with aios.connect() as kernel:
        print(await kernel.run(visitor, "What should I not eat?"))


if __name__ == "__main__":
    asyncio.run(main())
