"""Sums are divided once, over all batches."""

import math

import jax.numpy as jnp
import pytest

from nanojaxlm.evaluation.held_out import evaluate
from nanojaxlm.step import EvalSums

BATCHES = [(30.0, 10.0, 40.0), (5.0, 1.0, 3.0), (0.0, 0.0, 0.0)]  # nats, targets, bytes


def eval_step(params, batch):
    assert params == "params"
    return EvalSums(*map(jnp.float32, batch))


def test_a_short_batch_counts_by_its_targets_not_as_a_batch():
    held_out = evaluate(eval_step, "params", BATCHES)
    assert held_out.loss == 35 / 11
    assert held_out.bits_per_byte == pytest.approx(35 / math.log(2) / 43, rel=1e-12)
    assert (held_out.num_tokens, held_out.num_bytes) == (11, 43)


def test_the_limit_is_in_batches_and_no_more_are_read():
    read = []
    held_out = evaluate(eval_step, "params", (read.append(b) or b for b in BATCHES), limit=1)
    assert held_out.loss == 3.0 and held_out.num_tokens == 10
    assert len(read) == 1


def test_many_batches_add_up_without_the_loss_of_float32():
    """2^24 + 1 is no float32: a sum kept in float32 would stand still."""
    held_out = evaluate(eval_step, "params", [(2.0**24, 2.0**24, 2.0**24)] + [(1.0, 1.0, 1.0)] * 5)
    assert held_out.num_tokens == held_out.num_bytes == 2**24 + 5
