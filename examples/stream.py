"""The pieces of an answer as they come: `python examples/stream.py "Hello, who are you?"`."""

import asyncio
import sys

import aios


async def main(question: str) -> None:
    async with aios.connect() as kernel:
        stream = kernel.llm.stream(question)
        async for delta in stream:
            print(delta.text, end="", flush=True)
        print(f"\n[{stream.answer.usage.completion_tokens} tokens from {stream.answer.model}]")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "Hello, who are you?"))
