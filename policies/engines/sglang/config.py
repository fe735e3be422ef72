"""The settings of the SGLang engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from buffers.errors import UsageError


@dataclass(frozen=True, slots=True)
class SGLangConfig:
    """Which server an engine talks to, and how."""

    model: str = ""
    """Folder written by transformers' `save_pretrained`; the weights in it are version 0."""
    url: str = ""
    """Of a running server, e.g. http://127.0.0.1:30000; empty: the engine starts and minds a server of its own."""
    python: str = ""
    """Interpreter of the environment that SGLang is installed in; empty: this one."""
    arguments: tuple[str, ...] = ()
    """More arguments of the server, e.g. ["--tp-size", "2"]."""
    log: str = ""
    """File that the server's output goes to (a helper process of it would keep a pipe open for ever)."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What the server runs on."""
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = "float32"
    """Of weights and activations, as SGLang names it."""
    slots: int = 64
    """How many jobs run at once."""
    context_tokens: int = 4096
    """The longest prompt and response together."""
    kv_tokens: int = 65536
    """How many tokens the server's cache holds; 0: as many as it thinks fit."""
    remembered: int = 4096
    """Cut trajectories whose tokens the engine keeps, to go on without being sent them; the server caches as it can."""
    in_flight: Literal["retract", "abort"] = "retract"
    """What an update does to running requests: they stay open in the server and are computed anew, or they are aborted
    and sent again with what they have."""
    transport: Literal["disk", "tensors", "group"] = "disk"
    """How weights go in: as a model folder, as tensors in shared memory, or by broadcast in a process group."""
    stream: bool = False
    """Whether tokens come as they are drawn: a dying server then loses fewer, at a cost that grows with length."""
    together_s: float = 0.0
    """How long a job waits for others that begin with it, to go out in one call; 0: each goes out by itself at once."""
    repetition: bool = True
    """Whether looping responses are stopped, by the default rule of `policies/repetition.py`."""
    evaluator: Literal["torch", "sglang"] = "torch"
    """Which engine the evaluator has; with `sglang` it gets a server of its own."""
    start_s: float = 600.0
    """How long a server may take until it is healthy."""
    request_s: float = 600.0
    """How long a request may take; a server that is slower is taken for dead."""
    update_s: float = 120.0
    """How long one call of a weight update may take."""
    restarts: int = 3
    """How often a server that died is started again before the engine fails (and its holder is restarted)."""
    report_every_s: float = 1.0
    """How often the engine reports its throughput."""

    def __post_init__(self) -> None:
        """Refuse what could not run."""
        for name, known in (("in_flight", ("retract", "abort")), ("transport", ("disk", "tensors", "group"))):
            if getattr(self, name) not in known:
                raise UsageError(f"sglang.{name} = {getattr(self, name)!r}; it is one of {', '.join(known)}")
        if self.evaluator not in ("torch", "sglang"):
            raise UsageError(f"sglang.evaluator = {self.evaluator!r}: take torch or sglang")
        for name in ("slots", "remembered", "context_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(f"sglang.{name} = {getattr(self, name)} must be at least 1")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise UsageError(f"sglang.url = {self.url!r}; give the address of a server, e.g. http://127.0.0.1:30000")
