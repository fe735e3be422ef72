"""The life of one SGLang server: a process of its own that dies with this one, or a running server found by its URL.

A managed server gets a free port with every start; its output goes to a file, appended. It runs in a session of its
own, so that everything it started is ended with it; it ends by itself if this process is killed (`serve.py`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from policies.engines.sglang.client import Client, Unreachable, wait_healthy
from policies.engines.sglang.config import SGLangConfig

SERVE = Path(__file__).with_name("serve.py")
LOCAL = "127.0.0.1"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
CPU_THREADS = {"OMP_NUM_THREADS": "1"}
"""More threads than cores would be ruinous; a server for many cores gets its own through the environment."""


class Server(Protocol):
    """Where a healthy server comes from."""

    managed: bool

    async def start(self) -> Client:
        """A client of the server, which is healthy; `Unreachable` if it does not get so."""

    async def gone(self) -> str:
        """Return, when the server has died, what is known of it."""

    async def stop(self) -> None:
        """End it, if it is ours."""


class Managed:
    """A server that this process starts and ends."""

    managed = True

    def __init__(self, config: SGLangConfig) -> None:
        self._config = config
        self._log = Path(config.log or os.devnull)
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Client | None = None

    @property
    def pid(self) -> int:
        """Of the server's first process; 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> Client:
        """Start the server and wait until it is healthy."""
        await self.stop()
        port = free_port()
        words = [self._config.python or sys.executable, "-P", str(SERVE), str(os.getpid())]
        words += arguments(self._config, port)
        environment = {**ENVIRONMENT, **(CPU_THREADS if self._config.device == "cpu" else {}), **os.environ}
        environment.pop("PYTHONPATH", None)
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.client = Client(f"http://{LOCAL}:{port}", self._config.request_s)
        try:
            await wait_healthy(self.client, self._alive, self._config.start_s)
        except Unreachable as error:
            raise Unreachable(f"{error}; {self._last_words()}") from error
        return self.client

    async def gone(self) -> str:
        """See `Server`."""
        while self._alive():
            await asyncio.sleep(0.2)
        status = self._process.returncode if self._process is not None else None
        return f"the server ended with status {status}; {self._last_words()}"

    async def stop(self) -> None:
        """End the server and everything that it started, at once: it holds nothing that is worth a farewell."""
        if self.client is not None:
            await self.client.close()
            self.client = None
        if self._process is not None:
            end_session(self._process)
            self._process = None

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _last_words(self) -> str:
        """The last line of the log, and where more is."""
        if not self._log.is_file():
            return "its output was not kept"
        lines = self._log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
        return f"{lines[-1][:300] if lines else 'no word'} (more in {self._log})"


class Attached:
    """A server that somebody else minds."""

    managed = False

    def __init__(self, config: SGLangConfig) -> None:
        self._config = config
        self.client: Client | None = None

    async def start(self) -> Client:
        """Wait until the server is healthy."""
        await self.stop()
        self.client = Client(self._config.url, self._config.request_s)
        await wait_healthy(self.client, lambda: True, self._config.start_s)
        return self.client

    async def gone(self) -> str:
        """Never: whether it is gone is seen by those who call it."""
        await asyncio.Event().wait()
        return ""

    async def stop(self) -> None:
        """Let go of it."""
        if self.client is not None:
            await self.client.close()
            self.client = None


def server_of(config: SGLangConfig) -> Server:
    """The server that a config means."""
    return Attached(config) if config.url else Managed(config)


def arguments(config: SGLangConfig, port: int) -> list[str]:
    """The server's command line."""
    words = ["--model-path", config.model, "--host", LOCAL, "--port", str(port), "--weight-version", "0"]
    words += ["--dtype", config.dtype, "--max-running-requests", str(config.slots), "--log-level-http", "warning"]
    if config.kv_tokens:
        words += ["--max-total-tokens", str(config.kv_tokens)]
    if config.device == "cpu":
        words += ["--device", "cpu", "--attention-backend", "torch_native", "--model-impl", "transformers"]
        words += ["--disable-cuda-graph"]
    return [*words, *config.arguments]


def free_port() -> int:
    """A port that is free now; a server that finds it taken ends, and is started again with another."""
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        return int(probe.getsockname()[1])


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session, with everything in it, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
