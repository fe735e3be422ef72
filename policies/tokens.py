"""Tokenizers: the character tokenizer of the tiny models, and loading any Hugging Face one.

A tokenizer here is a `transformers.PreTrainedTokenizerFast`, saved beside the weights, so that a checkpoint's folder is
complete and opens in any tool. A task writes its prompt's text itself; `chat_text` puts it through the chat template
that a tokenizer brings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from buffers.errors import UsageError

IntArray = npt.NDArray[np.int32]

CHARACTERS = "$0123456789abcdefghijklmnopqrstuvwxyz+-*/()=#>:!?.,;<&@"
"""What a tiny model reads and writes; `$` ends a text. Id 0 is padding, id 1 an unknown character."""
VOCABULARY = 64


class Codec(Protocol):
    """The part of a tokenizer that the house uses."""

    eos_token_id: int | None
    pad_token_id: int

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]:
        """Text to ids."""

    def decode(self, token_ids: list[int]) -> str:
        """Ids to text."""

    def save_pretrained(self, save_directory: str) -> object:
        """Write the tokenizer's files into a folder."""

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """A conversation to the text that the model was trained to continue."""


def character_tokenizer(characters: str = CHARACTERS, size: int = VOCABULARY) -> Codec:
    """A tokenizer of one id per character, padded with unused entries to `size` ids."""
    names = ["<pad>", "<unk>", *characters]
    if len(set(names)) != len(names) or len(names) > size:
        raise UsageError(f"{len(characters)} characters do not fit {size} ids without repeats; raise size or drop some")
    names += [f"<unused{index}>" for index in range(size - len(names))]
    core = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    codec: Codec = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="$", clean_up_tokenization_spaces=False
    )
    return codec


def load_tokenizer(folder: str | Path) -> Codec:
    """The tokenizer of a model folder; `UsageError` if there is none. Nothing is looked up on the network."""
    if not Path(folder).is_dir():
        raise UsageError(f"no tokenizer in {str(folder)!r} (no such folder); give a Hugging Face model folder")
    try:
        codec: Codec = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise UsageError(f"no tokenizer in {str(folder)!r} ({reason}); give a Hugging Face model folder") from problem
    return codec


def stop_ids(codec: Codec) -> tuple[int, ...]:
    """The ids that end a response: that of the tokenizer's end, or none if it has none."""
    return () if codec.eos_token_id is None else (codec.eos_token_id,)


def encode(codec: Codec, text: str) -> IntArray:
    """Ids int32 [L] of a text, without added special tokens."""
    return np.asarray(codec.encode(text, add_special_tokens=False), dtype=np.int32)


def decode(codec: Codec, ids: IntArray) -> str:
    """The text of ids [L]."""
    return codec.decode([int(token) for token in ids])


def chat_text(codec: Codec, text: str) -> str:
    """One user turn in the tokenizer's chat template, ready for the answer; `UsageError` if it has none."""
    try:
        return codec.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
    except ValueError as problem:
        raise UsageError(f"this tokenizer has no chat template ({problem}); leave the chat form out") from None
