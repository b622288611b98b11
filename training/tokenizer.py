"""Train the tokenizer: byte-pair pieces over made-up dialogues, each digit and sign a piece of its own."""

import string
import sys
from pathlib import Path

import sentencepiece

from aios.drivers.models.chat import CONTROLS
from dialogues import sample_texts
from recipe import MODEL, SEED

SIGNS = [*string.punctuation, "\n", "“", "”", "«", "»", "°", "×", "÷", "–", "—", "’", "€"]


def train(path: Path, count: int = 6000) -> None:
    """Write `path`, a sentencepiece model."""
    texts = (line for line in sample_texts(count, SEED) if line)
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=texts,
            model_writer=file,
            model_type="bpe",
            vocab_size=MODEL["vocab_size"],
            pad_id=0,
            pad_piece="<pad>",
            bos_id=1,
            bos_piece="<s>",
            unk_id=2,
            eos_id=-1,
            control_symbols=list(CONTROLS),
            user_defined_symbols=SIGNS,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            character_coverage=0.9995,
            max_sentence_length=100_000,
            num_threads=2,
            minloglevel=1,
        )


if __name__ == "__main__":
    train(Path(sys.argv[1]))
