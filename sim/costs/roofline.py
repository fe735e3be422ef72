"""An engine's steps from a model's shape and an accelerator's measured efficiencies.

    decode   host + layers x [max(bytes / (e_b W), flops / (e_f F)) + attention(bytes read) + 2 all-reduces + kernels]
             kernels: a constant for each product (4 in a layer, 5 with experts), 4 small ones, and their traffic
    prefill  the same with more tokens in the products, plus causal attention of each chunk over what it reads
    MoE      reads the union of the experts that B tokens choose: experts x (1 - (1 - active / experts)^B)

Attention while decoding is a table of (bytes read, time), interpolated in between: a straight line errs by a quarter.
Speculative decoding: a step checks B (k + 1) tokens and yields (1 - a^(k+1)) / (1 - a) of them.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from sim.costs.cost import Install, Step
from sim.costs.curve import Curve
from sim.costs.hardware import Gpu
from sim.costs.model import Model
from sim.costs.weights import WeightsCost

NS = 1e9


class Speculation(msgspec.Struct, frozen=True):
    """Draft tokens checked together."""

    tokens: int = 0
    """Drafted per step; 0: off."""
    accepted: float = 0.7
    """Share of drafts that are accepted, each given the ones before."""
    draft: float = 0.1
    """Time of drafting, as a share of a step."""

    @property
    def gain(self) -> float:
        """Tokens per step."""
        if not self.tokens:
            return 1.0
        a = self.accepted
        return self.tokens + 1.0 if a >= 1 else (1 - a ** (self.tokens + 1)) / (1 - a)


class Roofline(msgspec.Struct, frozen=True):
    """One replica of a model over `tp` accelerators of a machine."""

    model: Model
    gpu: Gpu
    weights: WeightsCost
    tp: int = 1
    host_us: float = 1500.0
    """Per step, not overlapped."""
    weight_bytes: float = 2.0
    """Bytes of one parameter."""
    speculation: Speculation = Speculation()

    def decode(self, batch: int) -> Curve:
        """One step over a batch, by the sum of its contexts."""
        return _decode(self, batch)

    def mixed(self, step: Step) -> float:
        """One step that prefills and decodes."""
        tokens = step.batch + sum(chunk.tokens for chunk in step.chunks)
        total = self._products(tokens, step.batch + len(step.chunks)) + sum(
            self._prefill_attention(*chunk) for chunk in step.chunks
        )
        if step.batch:
            total += _attention(self, step.batch).at(step.context)
        return total

    def install(self, version: int) -> Install:
        """What going over to a version takes."""
        return self.weights.install(self.model.total * self.weight_bytes)

    def _products(self, tokens: int, sampled: int) -> float:
        """Ns of everything but attention, for so many tokens in one step, of which some are followed by a new one."""
        model, gpu, tp = self.model, self.gpu, self.tp
        e = gpu.efficiency
        per_layer = self._product(tokens, model.attention_weights)
        if model.experts:
            chosen = model.experts * (1 - (1 - model.active_experts / model.experts) ** tokens)
            read = (chosen + model.shared_experts) * model.mlp_weights
            flops = 2 * tokens * (model.active_experts + model.shared_experts) * model.mlp_weights
            memory = read * self.weight_bytes / ((e.expert_memory or e.memory) * gpu.memory_bytes_per_s * tp)
            per_layer += max(memory, flops / ((e.expert_flops or e.flops) * gpu.flops * tp))
        else:
            per_layer += self._product(tokens, model.mlp_weights)
        per_layer += 1e-6 * ((5 if model.experts else 4) * e.product_us + 4 * e.small_us)
        wide = (model.active_experts + model.shared_experts or 1) * model.intermediate
        per_layer += tokens * (16 * model.hidden + 6 * wide / tp) / (e.memory * gpu.memory_bytes_per_s)
        per_layer += 2 * self.all_reduce_s(2 * tokens * model.hidden)
        head = self._product(sampled, model.hidden * model.vocabulary) + 1e-6 * e.product_us
        return NS * (self.host_us * 1e-6 + model.layers * per_layer + head)

    def _product(self, tokens: int, weights: int) -> float:
        gpu, tp = self.gpu, self.tp
        read = weights * self.weight_bytes / (gpu.efficiency.memory * gpu.memory_bytes_per_s * tp)
        return max(read, 2 * tokens * weights / (gpu.efficiency.flops * gpu.flops * tp))

    def all_reduce_s(self, size: float) -> float:
        """Ring all-reduce of `size` bytes over the replica."""
        if self.tp == 1:
            return 0.0
        return 1e-5 + 2 * (self.tp - 1) / self.tp * size / (0.8 * self.gpu.link_bytes_per_s)

    def _attention_curve(self, batch: int) -> Curve:
        """Ns of decode attention in all layers by context tokens."""
        model, gpu = self.model, self.gpu
        e = gpu.efficiency
        per_token = model.kv_bytes / model.layers / self.tp
        floor = e.attention_floor_us * 1e-6
        xs, ys = [0.0], [floor]
        for read, share in e.decode_attention:
            took = read / (share * gpu.memory_bytes_per_s)
            if took > ys[-1] and read / per_token > xs[-1]:
                if len(xs) == 1:
                    xs.append(read / per_token * floor / took)
                    ys.append(floor)
                xs.append(read / per_token)
                ys.append(took)
        scale = NS * model.layers
        slope = per_token / (e.decode_attention[-1][1] * gpu.memory_bytes_per_s)
        return Curve(xs, [scale * y for y in ys], scale * slope)

    def _prefill_attention(self, tokens: int, context: int) -> float:
        """Ns of one chunk over its context: causal within, all of what is before."""
        model, gpu = self.model, self.gpu
        reach = context + tokens
        share = next(share for up_to, share in gpu.efficiency.prefill_attention if reach <= up_to)
        flops = 4 * model.layers * model.heads * model.head_dim * tokens * (context + tokens / 2)
        return NS * flops / (share * gpu.flops * self.tp)

    def kv_tokens(self, memory_share: float = 0.9, reserve_bytes: float = 3.5e9) -> int:
        """Tokens whose keys and values fit beside the weights; below 0 where these alone do not."""
        free = memory_share * self.gpu.memory_bytes * self.tp - self.model.total * self.weight_bytes - reserve_bytes
        return int(free / self.model.kv_bytes)


@lru_cache(maxsize=65536)
def _attention(cost: Roofline, batch: int) -> Curve:
    return cost._attention_curve(batch)


@lru_cache(maxsize=65536)
def _decode(cost: Roofline, batch: int) -> Curve:
    spec = cost.speculation
    checked = batch * (spec.tokens + 1)
    step = _attention(cost, batch).plus(cost._products(checked, checked))
    if not spec.tokens:
        return step
    return step.plus(0.0, (1 + spec.draft) / spec.gain)
