"""Decoding alone: from a model folder's tokenizer file to text, without loading torch or transformers.

For processes that only read (rewarders): they start in a fraction of a second and stay small.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from buffers.errors import UsageError
from buffers.segment import IntArray


def load_decoder(folder: str | Path) -> Callable[[IntArray], str]:
    """A function from ids [L] to text; special tokens are kept. `UsageError` if the folder has no tokenizer."""
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise UsageError(f"no tokenizer.json in {str(folder)!r}; give a Hugging Face model folder")
    tokenizer = Tokenizer.from_file(str(path))

    def decode(ids: IntArray) -> str:
        text: str = tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        return text

    return decode
