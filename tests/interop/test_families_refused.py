"""What a family cannot hold is refused by name: a field of config.json, or one of ours."""

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nanojaxlm.errors import UserError
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.interop.family import Family
from nanojaxlm.model.config import ModelConfig, Rope

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("draw_families.py"))))
NAMES = tuple(DRAW.CLASSES)


def family_named(name: str) -> Family:
    return next(family for family in FAMILIES if name in family.model_types)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_field_is_refused_with_the_nearest_known(name: str):
    told = DRAW.draw_config(name, 0) | {"tie_word_embedings": True}
    with pytest.raises(UserError, match=r"tie_word_embedings=True.*tie_word_embeddings"):
        family_named(name).read_config(told)


def test_an_unknown_field_of_one_stack_is_refused_with_the_stack():
    told = DRAW.draw_config("t5gemma", 0)
    told["encoder"]["head_dims"] = 4
    with pytest.raises(UserError, match=r"t5gemma's encoder.*head_dims=4.*head_dim"):
        family_named("t5gemma").read_config(told)


REFUSED = [
    ("bert", "position_embedding_type", "relative_key"),
    ("bert", "tie_word_embeddings", False),
    ("bert", "is_decoder", True),
    ("dots1", "first_k_dense_replace", 9),
    ("dots1", "scoring_func", "softmax"),
    ("gemma2", "use_bidirectional_attention", True),
    ("gemma2", "hidden_activation", "tanh"),
    ("gemma3_text", "attn_logit_softcapping", 20.0),
    ("gpt2", "add_cross_attention", True),
    ("gpt2", "scale_attn_by_inverse_layer_idx", True),
    ("gpt2", "n_head", 5),
    ("llama", "hidden_size", 35),
    ("llama", "hidden_size", "36"),
    ("llama", "mlp_bias", 1),
    ("llama", "dtype", "float8_e4m3fn"),
    ("llama", "partial_rotary_factor", 0.5),
    ("llama", "quantization_config", {"quant_method": "gptq"}),
    ("llama", "vocab_size", 0),
    ("qwen2", "layer_types", ["full_attention"]),
    ("qwen2", "layer_types", ["chunked_attention", "full_attention"]),
    ("qwen3_moe", "decoder_sparse_step", 2),
    ("qwen3_moe", "mlp_only_layers", [1]),
    ("roberta", "pad_token_id", -1),
    ("t5", "feed_forward_proj", "gated-tanh"),
    ("t5", "dense_act_fn", "silu"),
    ("t5", "is_encoder_decoder", False),
]


@pytest.mark.parametrize(("name", "field", "value"), REFUSED)
def test_a_value_that_cannot_be_honoured_is_refused_by_name(name: str, field: str, value: Any):
    told = DRAW.draw_config(name, 0) | {field: value}
    with pytest.raises(UserError, match=field) as caught:
        family_named(name).read_config(told)
    assert str(value).strip("{}[]'") in str(caught.value) or "missing" in str(caught.value)


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_a_size_that_is_missing_is_named(field: str):
    told = DRAW.draw_config("llama", 0)
    del told[field]
    with pytest.raises(UserError, match=f"llama: the field {field} is missing"):
        family_named("llama").read_config(told)


def test_encoders_and_decoders_of_two_widths_are_refused():
    told = DRAW.draw_config("t5gemma", 0)
    told["encoder"]["hidden_size"] *= 2
    with pytest.raises(UserError, match=r"t5gemma's encoder: hidden_size=.*that of the decoder"):
        family_named("t5gemma").read_config(told)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "rope_type='dynamic'"),
        ({"rope_type": "default", "mrope_section": [1, 2]}, "mrope_section"),
        ({"rope_type": "linear"}, "factor is missing"),
        ({"rope_type": "yarn", "factor": 2.0, "truncate": False}, "truncate=False"),
    ],
)
def test_rotary_positions_that_ours_have_not_are_refused(parameters: Any, words: str):
    told = DRAW.draw_config("llama", 0) | {"rope_parameters": parameters}
    with pytest.raises(UserError, match=words):
        family_named("llama").read_config(told)


def change_attention(**fields: Any) -> Callable[[ModelConfig], ModelConfig]:
    return lambda m: changed(m, attention=replace(m.last.attention, **fields))


def changed(m: ModelConfig, **fields: Any) -> ModelConfig:
    which = "decoder" if m.decoder is not None else "encoder"
    return replace(m, **{which: replace(m.last, **fields)})


INEXPRESSIBLE = [
    ("llama", change_attention(kv_shift=True), "decoder.attention.kv_shift=True"),
    ("llama", change_attention(softcap=9.0), "decoder.attention.softcap=9.0"),
    ("llama", change_attention(window=5), "decoder.attention.window=5"),
    ("llama", change_attention(rope=None), "attention.rope is None"),
    ("llama", change_attention(rope=Rope(rate=0.5)), "partial_rotary_factor=0.5"),
    ("llama", lambda m: replace(m, num_future=1), "num_future=1"),
    ("llama", lambda m: replace(m, logit_scale=2.0), "logit_scale=2.0"),
    ("llama", lambda m: replace(m, head_bias=True), "head_bias=True"),
    ("llama", lambda m: replace(m, vocab_size=None), "vocab_size is None"),
    ("llama", lambda m: replace(m, embed=replace(m.embed, scale=None)), "embed.scale"),
    ("llama", lambda m: changed(m, post_norm=True), "decoder.post_norm=True"),
    ("qwen2", change_attention(qkv_bias=False), "decoder.attention.qkv_bias=False"),
    ("gemma2", change_attention(scale=0.3), "decoder.attention.scale=0.3"),
    (
        "t5",
        lambda m: replace(m, logit_scale=1.0, tie_embeddings=True),
        "logit_scale=1.0",
    ),
    ("t5", lambda m: changed(m, relative_bias=None), "decoder.relative_bias=None"),
    ("modernbert", lambda m: changed(m, first_attention_norm=True), "first_attention_norm=True"),
    ("bert", lambda m: replace(m, tie_embeddings=False), "tie_word_embeddings=False"),
    ("roberta", lambda m: replace(m, embed=replace(m.embed, first_position=0)), "pad_token_id=-1"),
]


@pytest.mark.parametrize(("name", "change", "words"), INEXPRESSIBLE)
def test_a_model_that_the_family_cannot_hold_is_refused_by_our_field(
    name: str, change: Callable[[ModelConfig], ModelConfig], words: str
):
    family = family_named(name)
    config = family.read_config(DRAW.draw_config(name, 0))
    with pytest.raises(UserError) as caught:
        family.write_config(change(config))
    assert words.replace("decoder.relative_bias=None", "relative_bias") in str(caught.value)


def test_stacks_of_another_kind_are_refused():
    for name in ("llama", "bert", "t5", "gpt2", "modernbert", "t5gemma"):
        for other in ("llama", "bert", "t5"):
            kind = DRAW.ENCODERS, DRAW.ENCODER_DECODERS
            if [name in k for k in kind] == [other in k for k in kind]:
                continue
            config = family_named(other).read_config(DRAW.draw_config(other, 0))
            with pytest.raises(UserError, match="unlike this model"):
                family_named(name).write_config(config)
