"""Models in the files of Hugging Face's transformers, computed with torch. Needs the extra `huggingface`."""

from importlib.util import find_spec

_NEEDED = ("torch", "transformers", "huggingface_hub")


def missing() -> str:
    """What is not installed of what these models need, and how it is; empty where nothing is missing."""
    absent = [name for name in _NEEDED if find_spec(name) is None]
    return f"{', '.join(absent)} not installed: pip install 'aios[huggingface]'" if absent else ""
