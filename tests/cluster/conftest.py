"""One Ray of three nodes on this machine for all tests here; without the extra `cluster` they end in one line."""

import importlib.util
import os
from pathlib import Path

import pytest

if importlib.util.find_spec("ray") is None:
    raise pytest.UsageError("tests/cluster needs Ray, which is not installed: make test-cluster installs it")

import ray
from ray.cluster_utils import Cluster as Nodes

SOON = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""A dead node is noticed after 1.5 s."""
FAIR = {"worker_niceness": 0}
"""Ray lets what it starts yield to all others, also to what else a test machine does."""


@pytest.fixture(scope="session")
def nodes(tmp_path_factory):
    """A head, where whoever is not to die sits, and two workers; none of them can see the source of these tests."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    path, here = os.environ.pop("PYTHONPATH", None), Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    head = {"num_cpus": 8, "num_gpus": 1, "resources": {"head": 9}, "_system_config": SOON | FAIR}
    made = Nodes(initialize_head=True, head_node_args=head)
    workers = [add_worker(made) for _ in range(2)]
    made.wait_for_nodes()
    yield made, workers
    ray.shutdown()
    made.shutdown()
    os.chdir(here)
    if path is not None:
        os.environ["PYTHONPATH"] = path


def add_worker(made):
    """A node that may die, with a GPU that is there in name only."""
    return made.add_node(num_cpus=4, num_gpus=1, resources={"worker": 9})


@pytest.fixture
def replace(nodes):
    """Kills a worker at once, and adds another when the test is over."""
    made, workers = nodes
    dead = []

    def kill(node_id):
        dead.append(next(one for one in workers if one.node_id == node_id))
        workers.remove(dead[-1])
        made.remove_node(dead[-1], allow_graceful=False)

    yield kill
    workers.extend(add_worker(made) for _ in dead)
