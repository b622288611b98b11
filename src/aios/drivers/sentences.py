"""A sentence embedding model in a folder, computed by onnxruntime: texts in, vectors out.

The folder is one that sentence-transformers exports: `model.onnx` or `onnx/model.onnx`, and `tokenizer.json`.
Where the model gives a vector for each token, a text's is their mean (Reimers and Gurevych, Sentence-BERT,
EMNLP 2019, section 3). Needs the extra `embed`. Nothing is downloaded.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aios.abi.errors import InvalidArgument, Misconfigured

AT_ONCE = 8
"""Texts computed together: a search's waits for no more than that."""
MAX_TOKENS = 512
"""Of a text, where the folder does not say."""
LETTERS_OF_A_TOKEN = 16
"""More letters than this for each token are cut off before they are looked at."""

_MODELS = ("model.onnx", "onnx/model.onnx")
_LENGTHS = (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length"))
_PIECE = 1024 * 1024

Vectors = NDArray[np.float32]
"""A row for each text, of length 1."""


class SentenceModel:
    """Computes on a thread of its own: onnxruntime and the tokenizer let the others go on meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "embedding")
        self._name = ""

    @property
    def name(self) -> str:
        """Which vectors these are: the same for the same files. Empty before `start`."""
        return self._name

    async def start(self) -> None:
        """Load it. Raises `Misconfigured`, saying what is missing or wrong."""
        await self._do(self._load)

    async def close(self) -> None:
        """Let go of it once what it computes is done."""
        await asyncio.to_thread(self._thread.shutdown)

    async def vectors(self, texts: Sequence[str], *, is_urgent: bool) -> Vectors:
        """A vector for each text; what is too long for the model is left out at its end.

        Raises `InvalidArgument` where it fails over one. What is urgent waits for the few texts that are
        computed just now, at most.
        """
        pieces = [texts[begin : begin + AT_ONCE] for begin in range(0, len(texts), AT_ONCE)]
        return np.concatenate([await self._do(self._compute, piece) for piece in pieces])

    async def _do(self, work: Any, *values: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *values)

    # ---- below, everything runs on its thread

    def _load(self) -> None:
        onnxruntime, tokenizers = _libraries()
        model = next((path for name in _MODELS if (path := self._folder / name).is_file()), None)
        tokens = self._folder / "tokenizer.json"
        if model is None or not tokens.is_file():
            missing = "tokenizer.json" if model else "model.onnx"
            raise Misconfigured(f"the embedding model's folder {self._folder} has no {missing}")
        self._max_tokens = _max_tokens(self._folder)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(tokens))
            self._session = onnxruntime.InferenceSession(
                str(model), _options(onnxruntime), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - the libraries raise errors of many kinds for a bad file
            raise Misconfigured(f"the embedding model in {self._folder} cannot be loaded: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._max_tokens)
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._check()
        try:
            size = self._compute(["size"]).shape[1]
        except InvalidArgument as error:
            raise Misconfigured(f"the model in {self._folder} does not work: {error.message}") from None
        self._name = f"model {_digest([model, tokens], self._max_tokens)} {size}"

    def _check(self) -> None:
        """Raise `Misconfigured` where it is no model of this kind."""
        unknown = set(self._inputs) - {"input_ids", "attention_mask", "token_type_ids"}
        outputs = [len(one.shape) for one in self._session.get_outputs()]
        if unknown or "input_ids" not in self._inputs or not {2, 3} & set(outputs):
            raise Misconfigured(
                f"the model in {self._folder} is no sentence embedding model: it takes "
                f"{', '.join(self._inputs)} and gives {len(outputs)} outputs of {outputs} dimensions"
            )
        self._output = next(
            (at for at, size in enumerate(outputs) if size == 3), outputs.index(2) if 2 in outputs else 0
        )

    def _compute(self, texts: Sequence[str]) -> Vectors:
        most = self._max_tokens * LETTERS_OF_A_TOKEN
        try:
            found = self._tokenizer.encode_batch([text[:most] for text in texts])
            given = _given([one.ids for one in found])
            outputs = self._session.run(None, {name: given[name] for name in self._inputs})
        except Exception as error:  # noqa: BLE001 - as above
            raise InvalidArgument(f"the embedding model failed: {error}") from None
        return _unit(_pooled(np.asarray(outputs[self._output], np.float32), given["attention_mask"]))


def _given(tokens: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
    """What models take of several texts, the shorter ones filled up with what the mask leaves out."""
    ids = np.zeros((len(tokens), max(1, *map(len, tokens))), np.int64)
    mask = np.zeros_like(ids)
    for row, some in enumerate(tokens):
        ids[row, : len(some)] = some
        mask[row, : len(some)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def _pooled(output: Vectors, mask: NDArray[np.int64]) -> Vectors:
    if output.ndim == 2:
        return output
    weights = mask.astype(np.float32)[:, :, None]
    pooled: Vectors = (output * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
    return pooled


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise InvalidArgument("the embedding model gave numbers that are not finite")
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def _libraries() -> tuple[Any, Any]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # Else it collects what to send home.
    try:
        import onnxruntime
        import tokenizers
    except ImportError as error:
        raise Misconfigured(
            f"an embedding model in a folder needs the extra `pip install 'aios[embed]'`: {error}"
        ) from None
    return onnxruntime, tokenizers


def _options(onnxruntime: Any) -> Any:
    """Half of the processors, and none that waits in circles: agents' calls run beside it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, (os.cpu_count() or 1) // 2)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _max_tokens(folder: Path) -> int:
    for name, key in _LENGTHS:
        try:
            value = json.loads((folder / name).read_text("utf-8")).get(key)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError) as error:
            raise Misconfigured(f"{folder / name} cannot be read: {error}") from None
        if isinstance(value, int) and 0 < value <= 1 << 16:
            return value
    return MAX_TOKENS


def _digest(files: Sequence[Path], max_tokens: int) -> str:
    digest = sha256(str(max_tokens).encode())
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()[:32]
