"""Many agents at once: each keeps a note and writes a file, and one more reads what they share.

`python examples/notes.py` starts a kernel of its own; with AIOS_URL set it uses that one.
"""

import asyncio

import aios

TOPICS = ["tides", "glaciers", "volcanoes"]


@aios.agent
class Researcher:
    """Writes a file about its topic, and lets the editor read it."""

    def __init__(self, agent: aios.Agent) -> None:
        self.agent = agent

    async def run(self, topic: str) -> str:
        await self.agent.memory.add(f"I work on {topic}.", tags=["work"])
        await self.agent.storage.write("report.txt", f"All there is to know about {topic}.")
        await self.agent.access.grant("editor", "storage", ["read"], "report.txt")
        return self.agent.principal


@aios.agent
async def editor(agent: aios.Agent, owners: str) -> str:
    """Joins the reports of the principals it is given."""
    reports = [await agent.storage.read("report.txt", owner=owner) for owner in owners.split()]
    return "\n".join(report.content for report in reports)


async def main() -> None:
    async with aios.connect() as kernel:
        runs = [await kernel.spawn(Researcher, topic) for topic in TOPICS]
        owners = await asyncio.gather(*runs)
        print(await kernel.run(editor, " ".join(owners), principal="editor"))


if __name__ == "__main__":
    asyncio.run(main())
