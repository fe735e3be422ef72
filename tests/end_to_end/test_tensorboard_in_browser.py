"""TensorBoard as a person sees it: headless Chromium opens a run's files and finds the five charts with their data."""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from actors.sinks.charts import FIRST
from actors.sinks.tensorboard_sink import TensorBoard
from tests.end_to_end.browser import CHROMIUM, browser

CURVES = """(() => { let count = 0; const walk = (node, inside) => {
  inside = inside || node.nodeName === 'VZ-LINE-CHART2';
  if (inside && node.nodeName === 'path' && (node.getAttribute('d') || '').split('L').length > 5) count++;
  if (node.shadowRoot) walk(node.shadowRoot, inside);
  for (const child of node.childNodes) walk(child, inside);
}; walk(document, false); return count; })()"""
"""How many curves with more than five points are drawn."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with curves of twenty versions under every name of the five charts."""
    folder = tmp_path_factory.mktemp("charts")
    sink = TensorBoard({"run_dir": str(folder), "schedule": {"eta": 3}}, None, None)
    for version in range(20):
        at_ns = (version + 1) * 10**9
        sink.write("learner", (("version", at_ns, float(version)),))
        for names in FIRST.values():
            for name in names:
                actor, _, number = name.replace(".*", "0").partition("/")
                sink.write(actor, ((number, at_ns, math.sin(version / 3) + 2.0),))
    sink.close()
    return folder


@contextlib.contextmanager
def served(folder):
    """The address of a TensorBoard that has loaded a folder."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    words = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder / "tensorboard"), "--host", "127.0.0.1"]
    process = subprocess.Popen([*words, "--port", str(port), "--load_fast=false"], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while not loaded(address):
            assert process.poll() is None
            assert time.monotonic() < deadline, "TensorBoard has not loaded the run in 90 s"
            time.sleep(0.3)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def loaded(address):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/data/plugins_listing", timeout=5) as answer:
        return json.load(answer)["custom_scalars"]["enabled"]
    return False


def need_browser(path, environment):
    """Without a browser: fail in CI, where nothing may be left out by itself; elsewhere skip, and say so."""
    if not path:
        why = "no Chromium here, so nobody looks at TensorBoard: install the Debian package chromium"
        (pytest.fail if environment.get("CI") else pytest.skip)(why)


def test_without_a_browser_ci_fails_and_a_person_is_told():
    need_browser("/usr/bin/chromium", {"CI": "true"})
    with pytest.raises(pytest.fail.Exception, match="install the Debian package chromium"):
        need_browser("", {"CI": "true"})
    with pytest.raises(pytest.skip.Exception, match="install the Debian package chromium"):
        need_browser("", {})


def test_the_five_charts_are_there_with_their_data(run, tmp_path):
    need_browser(CHROMIUM, os.environ)
    with served(run) as address, browser(tmp_path / "profile") as page:
        page.go(f"{address}/#custom_scalars")
        page.text_with(*FIRST)
        deadline = time.monotonic() + 60
        while page.value(CURVES) < len(FIRST):
            assert time.monotonic() < deadline, f"{page.value(CURVES)} curves are drawn"
            time.sleep(0.3)
        (tmp_path / "charts.png").write_bytes(page.picture())
        assert (tmp_path / "charts.png").stat().st_size > 10_000
