"""What stand-ins keep over the death of their process: a mapping whose values are files, durable when assigned."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from urllib.parse import quote, unquote


class Disk(MutableMapping[str, bytes]):
    """One file for each key, replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f".{quote(key, safe='')}"
        with fresh.open("wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path(key))

    def __delitem__(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        files = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        return (unquote(file.name[1:]) for file in files if file.name.startswith("="))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _path(self, key: str) -> Path:
        return self._folder / f"={quote(key, safe='')}"
