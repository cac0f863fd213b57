"""The floor under an update holds every product that the update needs, and each of them once."""

from __future__ import annotations

from bench.gpu_update import PLAIN, SCHEDULE, SHAPES, Bench, Workload, make_model, rows
from bench.products import time_products
from selfhood.model.adapters import attach
from selfhood.recipe import TunerOptions
from selfhood.training.schedule import pack
from tests.tiny import tiny_network

RANK = 4


def test_the_floor_counts_every_product_once() -> None:
    network = tiny_network(layers=2, width=64)
    model = attach(network, TunerOptions(lora_rank=RANK), base="tiny", seed=0).train()
    (one,) = pack(rows([20, 30], 259, seed=0), 2048)
    tokens, targets = one.num_tokens, len(one.target_slots)
    to_keys, to_attention, to_mlp = (64, 32), (64, 64), (64, 128)
    layer = [to_attention, to_keys, to_keys, to_attention, to_mlp, to_mlp, to_mlp[::-1]]
    expected = 2 * targets * 64 * 259
    for inputs, outputs in layer * 2:
        expected += tokens * (inputs * outputs + RANK * (inputs + outputs))  # forward
        expected += tokens * RANK * (outputs + inputs + outputs)  # gradients of the adapter
        expected += tokens * (inputs * outputs + RANK * inputs)  # gradient of the input
    for inputs, outputs in (to_attention, to_keys, to_keys):  # which the first layer does not need
        expected -= tokens * (inputs * outputs + RANK * inputs)
    watch = time_products(model, [one])
    assert watch.multiply_adds == expected
    assert 0 < watch.multiply_adds / watch.best_rate <= watch.total * 1.5


def test_the_gpu_bench_runs_at_a_tiny_shape_without_a_gpu() -> None:
    bench = Bench(make_model(SHAPES["tiny"], quantised=False), SHAPES["tiny"])
    found = bench.measure(PLAIN, Workload(name="some", lengths=[320] * 4, repeats=1))
    assert found.tokens == 160 and found.seconds > 0 and found.peak_gib > 0
    assert bench.seconds(SCHEDULE, [320] * 4, seed=0) > 0
    assert bench.gradient_error() < 0.02
