"""A headless Chromium driven over a pipe (Chrome DevTools protocol): enough to look at one page."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
"""The browser of this machine; empty if it has none."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1300,900",
    "--remote-debugging-pipe",
)
DEEP_TEXT = """(() => { const out = []; const walk = (node) => {
  if (node.shadowRoot) walk(node.shadowRoot);
  for (const child of node.childNodes) {
    if (child.nodeType === 3) { const text = child.textContent.trim(); if (text) out.push(text); }
    else if (!['SCRIPT', 'STYLE'].includes(child.nodeName)) walk(child);
  } }; walk(document); return out.join('\\n'); })()"""
"""All text of a page, shadow trees too."""


class Page:
    """One page of a browser."""

    def __init__(self, folder: Path) -> None:
        reading, self._out = os.pipe()
        self._in, writing = os.pipe()
        words = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        shell = f'exec "$@" 3<&{reading} 4>&{writing}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *words], pass_fds=(reading, writing), stderr=subprocess.DEVNULL
        )
        os.close(reading)
        os.close(writing)
        self._number = 0
        self._rest = b""
        self._session = ""
        target = next(one for one in self._targets() if one["type"] == "page")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _targets(self) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found: list[dict[str, Any]] = self.call("Target.getTargets")["targetInfos"]
            if any(one["type"] == "page" for one in found):
                return found
            time.sleep(0.1)
        raise AssertionError("the browser opened no page in 30 s")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """One command; its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                data = os.read(self._in, 1 << 20)
                assert data, "the browser has gone"
                self._rest += data
            message, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(message)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def go(self, url: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text_with(self, *wanted: str, seconds: float = 60) -> str:
        """The page's text once it holds all of these."""
        deadline = time.monotonic() + seconds
        text = ""
        while time.monotonic() < deadline:
            text = self.value(DEEP_TEXT) or ""
            if all(one in text for one in wanted):
                return text
            time.sleep(0.3)
        missing = [one for one in wanted if one not in text]
        raise AssertionError(f"not on the page after {seconds} s: {missing}; it says:\n{text[:3000]}")

    def picture(self) -> bytes:
        """A screenshot as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError):
            os.close(self._out)
            os.close(self._in)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a browser that ends with the block."""
    page = Page(folder)
    try:
        yield page
    finally:
        page.close()
