"""Functions that tests name as rewards or run in sandboxes."""

import os
import subprocess
import sys
import time


def by_length(prompt, response, answer):
    return float(len(response))


def build_misbehaving(_argument):
    return misbehave


def misbehave(value):
    what = value["do"]
    if what == "echo":
        print("noise on standard output")
        return value
    if what == "pid":
        return os.getpid()
    if what == "raise":
        raise KeyError("no such thing")
    if what == "exit":
        sys.exit(3)
    if what == "die":
        os._exit(7)
    if what == "sleep":
        time.sleep(60)
    if what == "compute":
        return 9 ** (9**9)
    if what == "memory":
        return len(b"x" * (8 << 30))
    if what == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(value["path"], "w") as file:
            file.write(str(child.pid))
        time.sleep(60)
    if what == "die once":
        if not os.path.exists(value["path"]):
            with open(value["path"], "w"):
                os._exit(9)
        return "second chance"
    return None


def fail_to_build(_argument):
    raise RuntimeError("nothing to build")


def score_by_wish(prompt, response, answer):
    """A reward function that does what the response says."""
    if "hang" in response:
        time.sleep(60)
    if "die" in response:
        os._exit(1)
    if "raise" in response:
        raise ValueError("asked to")
    return float(response == answer)
