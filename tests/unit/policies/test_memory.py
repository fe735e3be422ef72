"""What a model takes of a card, against what it really takes."""

import pytest
import torch

from buffers.errors import UsageError
from policies.device import card_bytes, context_bytes, find_device, keep_to, settle
from policies.engines.lean.cache import Cache
from policies.engines.lean.weights import fuse
from policies.engines.torch_engine import TorchEngineConfig
from policies.memory import engine_need, fit_engine, saved_floats, size_of, trainer_need
from policies.models import logps_of_tokens
from policies.objectives.objective import find_objective
from policies.trainers.update import Config as UpdateConfig
from policies.trainers.update import Update
from tests.property.tiny_models import CONFIGS, tiny_model

CPU = torch.device("cpu")
CONFIG = TorchEngineConfig(slots=6, cached_rows=3, context_tokens=100)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    def folder(architecture):
        path = tmp_path_factory.mktemp(architecture)
        tiny_model(architecture).save_pretrained(path)
        return path

    return {architecture: size_of(folder(architecture)) for architecture in CONFIGS}


def tensors_of(weights):
    fields = [weights.embedding_VD, weights.norm_D, weights.head_VD]
    fields += [getattr(layer, name) for layer in weights.layers for name in layer.__dataclass_fields__]
    return {tensor.data_ptr(): tensor for tensor in fields if tensor is not None}.values()


@pytest.mark.parametrize("architecture", CONFIGS)
def test_parameters_are_counted_exactly(sizes, architecture):
    assert sizes[architecture].parameters == sum(one.numel() for one in tiny_model(architecture).parameters())


@pytest.mark.parametrize("architecture", CONFIGS)
def test_an_engine_takes_its_weights_and_the_cache_of_all_rows(sizes, architecture):
    size = sizes[architecture]
    need = engine_need(size, CONFIG)
    weights = fuse(size.shape, dict(tiny_model(architecture).named_parameters()), CPU)
    held = sum(tensor.nbytes for tensor in tensors_of(weights))
    assert need.resident == pytest.approx(held, rel=0.01)  # norms are folded into matrices
    cache = Cache(size.shape, CONFIG.slots + CONFIG.cached_rows, CONFIG.context_tokens, CPU)
    assert need.cache == cache.bytes
    cache.release()
    assert cache.bytes == 0
    cache.ensure(3)
    assert need.cache == cache.bytes


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("rows", [2, 7])
def test_what_an_update_keeps_for_its_gradient_is_what_autograd_saves(sizes, architecture, rows):
    model = tiny_model(architecture)
    own, saved = {weight.untyped_storage().data_ptr() for weight in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    ids_BT = torch.randint(0, 64, (rows, 65))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logp_BT, _ = logps_of_tokens(model, ids_BT, 1.0)
        logp_BT.sum()
    counted = sum(storage.nbytes() for storage in saved.values()) / 4 / (rows * 64)
    assert saved_floats(sizes[architecture].shape) == pytest.approx(counted, rel=0.05)


def test_a_trainer_holds_four_copies_of_the_weights(sizes):
    size = sizes["qwen3"]
    update = Update(tiny_model("qwen3"), find_objective("grpo", {}), UpdateConfig())
    for weight in update.weights:
        weight.grad = torch.zeros_like(weight)
    update.optimizer.step()
    moments = [value for state in update.optimizer.state.values() for value in state.values() if value.numel() > 1]
    held = sum(tensor.nbytes for tensor in (*update.weights, *update.reference.parameters(), *moments))
    assert trainer_need(size, 1).resident == pytest.approx(held, rel=1e-3)
    one, more = trainer_need(size, 1000).working, trainer_need(size, 3000).working
    assert more - one > 4 * 2000 * saved_floats(size.shape)
    update.optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize(("rows", "slots", "cached"), [(9, 6, 3), (7, 6, 1), (5, 5, 0), (1, 1, 0)])
def test_an_engine_is_given_as_many_rows_as_fit_and_slots_go_last(sizes, rows, slots, cached):
    size = sizes["qwen3"]
    room = 2 * size.weight_bytes + (rows + 1) * CONFIG.context_tokens * size.kv_bytes
    fitted = fit_engine(size, CONFIG, room, "cluster.engine_memory = 0.4")
    assert (fitted.slots, fitted.cached_rows) == (slots, cached)
    assert engine_need(size, fitted).most <= room


def test_a_share_without_room_for_one_context_is_refused_with_what_it_needs(sizes):
    with pytest.raises(UsageError, match=r"cluster.engine_memory = 0.1 leaves its engine 0.00 GiB.*100 tokens need"):
        fit_engine(sizes["qwen3"], CONFIG, 2 * sizes["qwen3"].weight_bytes, "cluster.engine_memory = 0.1")


def test_devices_that_are_not_there_are_refused_by_name():
    assert find_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="'gpu': torch knows no such device; take cpu or cuda"):
        find_device("gpu")
    with pytest.raises(UsageError, match="'cuda:99': torch finds no such GPU"):
        find_device("cuda:99")


def test_a_cpu_has_the_memory_of_its_machine_and_nothing_to_wait_for():
    assert card_bytes(CPU) > 1 << 28
    assert context_bytes(CPU) == 0
    keep_to("cpu", 0.5)
    settle("cpu")
