"""The reference without torch: what a language model must satisfy, on folders made by hand."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from nanojaxlm.errors import UserError
from nanojaxlm.interop import reference
from nanojaxlm.interop.reference.folder import Fields, Folder
from nanojaxlm.interop.reference.pieces import choose_by_sigmoid, choose_by_softmax, mixture
from nanojaxlm.interop.reference.rope import make_rope, rotate

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("draw_families.py"))))
RECORDED = [(family, seed) for family, seeds in DRAW.RECORDED.items() for seed in seeds]
V, D, F, N, K, H = 31, 12, 20, 3, 1, 4
LAYER = {
    "self_attn.q_proj.weight": (N * H, D),
    "self_attn.k_proj.weight": (K * H, D),
    "self_attn.v_proj.weight": (K * H, D),
    "self_attn.o_proj.weight": (D, N * H),
    "mlp.gate_proj.weight": (F, D),
    "mlp.up_proj.weight": (F, D),
    "mlp.down_proj.weight": (D, F),
    "input_layernorm.weight": (D,),
    "post_attention_layernorm.weight": (D,),
}
LLAMA = dict(
    model_type="llama",
    vocab_size=V,
    hidden_size=D,
    intermediate_size=F,
    num_hidden_layers=2,
    num_attention_heads=N,
    num_key_value_heads=K,
    tie_word_embeddings=True,
)


def llama_tensors() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    for i in range(2):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in LAYER.items()}
    return {
        name: (len(shape) == 1) + generator.normal(size=shape, scale=0.4).astype(np.float32)
        for name, shape in shapes.items()
    }


def write(folder: Path, fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    save_file(tensors, folder / "model.safetensors")
    return folder


def rows(length: int = 12) -> np.ndarray:
    return np.random.default_rng(1).integers(0, V, (2, length))


def reached(folder: Path, place: int, length: int = 12) -> np.ndarray:
    """bool [T]: which logits move when the token at that place does."""
    tokens_BT = rows(length)
    before_BTV = reference.logits(folder, tokens_BT)
    tokens_BT[:, place] = (tokens_BT[:, place] + 1) % V
    return np.any(reference.logits(folder, tokens_BT) != before_BTV, axis=(0, 2))


@pytest.mark.parametrize(("family", "seed"), RECORDED)
def test_logits_equal_those_that_transformers_gave(family: str, seed: int, tmp_path: Path):
    cases = json.loads((DRAW.FOLDER / f"{family}.json").read_text())
    case = next(case for case in cases if case["seed"] == seed)
    folder = write(tmp_path, case["config"], DRAW.draw_weights(family, case["shapes"], seed))
    size = case["config"].get("decoder", case["config"])["vocab_size"]
    encoder, decoder = DRAW.draw_example(family, size, seed)[:2]
    theirs_BTV = np.load(DRAW.FOLDER / f"{family}.npz")[f"logits_{seed}"]
    for i in range(DRAW.ROWS):  # each a document between pads, which the reference never sees
        stacks = [stack for stack in (encoder, decoder) if stack is not None]
        documents = [stack.tokens_BT[i][stack.mask_BT[i] == 1][None] for stack in stacks]
        ours_TV = reference.logits(folder, *documents)[0]
        theirs_TV = theirs_BTV[i][stacks[-1].mask_BT[i] == 1]
        assert np.abs(ours_TV - theirs_TV).max() < 1e-5 * np.abs(theirs_TV).max()


def test_no_later_token_reaches_a_logit(tmp_path: Path):
    folder = write(tmp_path, LLAMA, llama_tensors())
    np.testing.assert_array_equal(reached(folder, 5), np.arange(12) >= 5)


def test_a_token_reaches_window_less_one_tokens_further_a_layer(tmp_path: Path):
    fields = LLAMA | dict(model_type="mistral", sliding_window=3)
    folder = write(tmp_path, fields, llama_tensors())
    places = np.arange(12)
    np.testing.assert_array_equal(reached(folder, 4), (places >= 4) & (places <= 4 + 2 * 2))


def test_batch_rows_are_independent(tmp_path: Path):
    folder, tokens_BT = write(tmp_path, LLAMA, llama_tensors()), rows()
    apart = [reference.logits(folder, row[None])[0] for row in tokens_BT]
    np.testing.assert_allclose(reference.logits(folder, tokens_BT), apart, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LAYER)
def test_every_tensor_counts(name: str, tmp_path: Path):
    """Rows, or entries, in another order: other logits."""
    tensors = llama_tensors()
    before = reference.logits(write(tmp_path, LLAMA, tensors), rows())
    name = f"model.layers.1.{name}"
    moved = np.roll(tensors[name], 1, axis=0)
    after = reference.logits(write(tmp_path, LLAMA, tensors | {name: moved}), rows())
    assert np.abs(after - before).max() > 1e-3 * np.abs(before).max()


def test_halves_of_rotary_heads_are_not_interleaved(tmp_path: Path):
    """The mistake of an exporter that permutes as the first Llama's own files are."""
    tensors = llama_tensors()
    before = reference.logits(write(tmp_path, LLAMA, tensors), rows())
    for i in range(2):
        for part in "qk":
            name = f"model.layers.{i}.self_attn.{part}_proj.weight"
            parted = tensors[name].reshape(-1, 2, H // 2, D)
            tensors[name] = np.ascontiguousarray(parted.swapaxes(1, 2)).reshape(-1, D)
    after = reference.logits(write(tmp_path, LLAMA, tensors), rows())
    assert np.abs(after - before).max() > 1e-2 * np.abs(before).max()


def test_scores_depend_on_the_distance_alone():
    generator = np.random.default_rng(2)
    q_H, k_H = generator.normal(size=(2, 8))
    rope = make_rope({"rope_theta": 30.0}, Fields({}, {}, "here"), 8, 20)
    q_TH = rotate(np.tile(q_H, (1, 20, 1, 1)), rope)[0, :, 0]
    k_TH = rotate(np.tile(k_H, (1, 20, 1, 1)), rope)[0, :, 0]
    scores_TS = q_TH @ k_TH.T
    # the angles, of up to 19 radians, are rounded to float32
    np.testing.assert_allclose(scores_TS[1:, 1:], scores_TS[:-1, :-1], atol=1e-5)
    assert np.ptp(scores_TS[:, 0]) > 0.1


def test_an_extended_rope_divides_slow_turns_and_keeps_fast_ones():
    plain = make_rope({"rope_theta": 1e6}, Fields({}, {}, "here"), 16, 2)
    for kind in ("llama3", "yarn"):
        numbers = dict(rope_type=kind, rope_theta=1e6, factor=4.0, attention_factor=1.0)
        numbers |= dict(low_freq_factor=1.0, high_freq_factor=4.0)
        numbers |= dict(original_max_position_embeddings=256)
        longer = make_rope(numbers, Fields({}, {}, "here"), 16, 2)
        ratio_R = np.arcsin(plain.sin_TR[1]) / np.arcsin(longer.sin_TR[1])
        np.testing.assert_allclose(ratio_R[[0, -1]], [1, 4], rtol=1e-6)
        assert np.all(np.diff(ratio_R) >= -1e-9)


def test_tokens_go_to_their_best_experts():
    logits_ME = np.log([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4]])
    chosen_MK, weights_MK = choose_by_softmax(logits_ME, 2, normalize=True)
    np.testing.assert_array_equal(chosen_MK, [[1, 2], [0, 2]])
    np.testing.assert_allclose(weights_MK, [[2 / 3, 1 / 3], [5 / 9, 4 / 9]])
    x_MD = np.array([[1.0], [10.0]])
    out_MD = mixture(x_MD, chosen_MK, weights_MK, lambda e, x: x * 10.0**e)
    np.testing.assert_allclose(out_MD[:, 0], [2 / 3 * 10 + 100 / 3, 50 / 9 + 4000 / 9])


def test_the_choice_bias_and_the_groups_choose_but_do_not_weigh():
    """Groups {0,1}, {2,3}: expert 0 is the best, yet the other group has the better two."""
    score_E = np.array([0.9, 0.1, 0.6, 0.5])
    logits_ME = np.log(score_E / (1 - score_E))[None]
    fields = dict(n_group=2, topk_group=1, num_experts_per_tok=1)
    fields |= dict(norm_topk_prob=False, routed_scaling_factor=2.0)
    for bias_E, expert in (([0, 0, 0, 0], 2), ([0, 0, 0, 0.2], 3), ([0.2, 0, 0, 0], 0)):
        chosen, weights = choose_by_sigmoid(logits_ME, np.array(bias_E), Fields(fields, {}, "here"))
        assert chosen == [[expert]]
        np.testing.assert_allclose(weights, [[2 * score_E[expert]]])


def test_bfloat16_is_read_as_its_rounded_numbers(tmp_path: Path):
    tensors = llama_tensors()
    rounded = {name: x.astype(ml_dtypes.bfloat16) for name, x in tensors.items()}
    half = write(tmp_path / "half", LLAMA, rounded)
    single = write(
        tmp_path / "single", LLAMA, {name: x.astype(np.float32) for name, x in rounded.items()}
    )
    np.testing.assert_array_equal(reference.logits(half, rows()), reference.logits(single, rows()))


def test_shards_are_read_through_their_index(tmp_path: Path):
    tensors = llama_tensors()
    whole = reference.logits(write(tmp_path / "whole", LLAMA, tensors), rows())
    folder = write(tmp_path / "parts", LLAMA, tensors)
    (folder / "model.safetensors").unlink()
    files = {name: f"model-{i % 3}.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({n: x for n, x in tensors.items() if files[n] == file}, folder / file)
    index = json.dumps({"weight_map": files})
    (folder / "model.safetensors.index.json").write_text(index)
    np.testing.assert_array_equal(reference.logits(folder, rows()), whole)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (dict(model_type="mamba"), "model_type 'mamba' is not one of gpt2, llama"),
        (dict(model_type=None), "model_type None"),
        (dict(hidden_act="mish"), "hidden_act = 'mish'"),
        (dict(rope_scaling=dict(rope_type="longrope")), "rope_type = 'longrope'"),
        (dict(rope_parameters=dict(partial_rotary_factor=0.5)), "partial_rotary_factor"),
        (dict(model_type="gemma2", use_bidirectional_attention=True), "use_bidirectional"),
        (dict(model_type="gemma3_text", attn_logit_softcapping=5.0), "attn_logit_softcapping"),
        (dict(model_type="qwen3", use_sliding_window=True, layer_types=["chunked"]), "layer_types"),
        (dict(model_type="bert", is_decoder=True), "is_decoder"),
        (dict(model_type="t5"), "give decoder_tokens_BT"),
        (dict(num_hidden_layers=3), "lacks the tensor 'model.layers.2.input_layernorm.weight'"),
        (dict(intermediate_size=21), r"gate_proj.weight has shape \[20, 12\].* \[21, 12\]"),
        (dict(tie_word_embeddings=False), "lacks the tensor 'lm_head.weight'"),
        (dict(attention_bias=True), "lacks the tensor 'model.layers.0.self_attn.q_proj.bias'"),
        (dict(vocab_size=20), r"tokens must be in \[0, vocab_size=20\)"),
    ],
)
def test_what_is_not_implemented_or_missing_is_named(
    fields: dict[str, Any], told: str, tmp_path: Path
):
    folder = write(tmp_path, LLAMA | fields, llama_tensors())
    with pytest.raises(UserError, match=told):
        reference.logits(folder, rows())


def test_a_needed_field_that_is_absent_is_named(tmp_path: Path):
    fields = {name: value for name, value in LLAMA.items() if name != "num_hidden_layers"}
    with pytest.raises(UserError, match="lacks the field 'num_hidden_layers'"):
        reference.logits(write(tmp_path, fields, llama_tensors()), rows())


def test_damaged_files_are_named(tmp_path: Path):
    folder = write(tmp_path, LLAMA, llama_tensors())
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(UserError, match="ends within"):
        reference.logits(folder, rows())
    file.write_bytes(b"\x80\x02}q\x00.")  # a pickle
    with pytest.raises(UserError, match="no safetensors header"):
        reference.logits(folder, rows())
    file.unlink()
    with pytest.raises(UserError, match="safetensors does not exist"):
        reference.logits(folder, rows())
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        Folder(folder)


def test_rows_must_be_rows(tmp_path: Path):
    folder = write(tmp_path, LLAMA, llama_tensors())
    with pytest.raises(UserError, match="rows"):
        reference.logits(folder, rows()[0])
    with pytest.raises(UserError, match="one stack"):
        reference.logits(folder, rows(), rows())


def test_nothing_of_ours_or_of_jax_is_used():
    """A second opinion that shared code with the first would be none."""
    place = Path(reference.__file__).parent
    lines = [line for file in place.glob("*.py") for line in file.read_text().splitlines()]
    imports = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    allowed = {"nanojaxlm.errors", "collections.abc", "dataclasses", "json", "math", "pathlib"}
    allowed |= {"typing", "numpy", "ml_dtypes"}
    assert {x for x in imports if not x.startswith("nanojaxlm.interop.reference.")} == allowed
