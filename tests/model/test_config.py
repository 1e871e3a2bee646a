"""Which layer is what, and what no model can be."""

import pytest

from nanojaxlm.model.config import (
    AttentionConfig,
    BandScaling,
    FeedForwardConfig,
    LocalConfig,
    MixtureConfig,
    ModelConfig,
    RelativeBiasConfig,
    Rope,
    StackConfig,
    YarnScaling,
)

FEED_FORWARD = FeedForwardConfig(hidden=8)


def attention(**fields) -> AttentionConfig:
    return AttentionConfig(**{"num_heads": 4, "num_kv_heads": 2, "head_dim": 8} | fields)


def stack(**fields) -> StackConfig:
    defaults = {"num_layers": 6, "attention": attention(), "feed_forward": FEED_FORWARD}
    return StackConfig(**defaults | fields)


def mixture(**fields) -> MixtureConfig:
    return MixtureConfig(**{"num_experts": 8, "top_k": 2, "expert": FEED_FORWARD} | fields)


@pytest.mark.parametrize(
    ("global_every", "global_first", "picture"),
    [(2, False, "lglglg"), (3, True, "gllgll"), (3, False, "llgllg"), (7, False, "llllll")],
)
def test_local_layers_have_the_window_and_their_own_rotation(global_every, global_first, picture):
    own = Rope(theta=50.0)
    local = LocalConfig(window=3, global_every=global_every, global_first=global_first, rope=own)
    config = stack(attention=attention(window=100), local=local)
    layers = [config.layer(i) for i in range(6)]
    assert "".join("l" if layer.is_local else "g" for layer in layers) == picture
    for layer in layers:
        assert layer.attention.window == (3 if layer.is_local else 100)
        assert layer.attention.rope == (own if layer.is_local else Rope())


def test_the_first_layers_are_dense_and_the_first_norm_may_be_left_out():
    dense = FeedForwardConfig(hidden=16)
    config = stack(feed_forward=mixture(), num_dense=2, dense=dense, first_attention_norm=False)
    layers = [config.layer(i) for i in range(6)]
    assert [layer.feed_forward for layer in layers] == [dense] * 2 + [mixture()] * 4
    assert [layer.attention_norm for layer in layers] == [False] + [True] * 5
    after = stack(pre_norm=False, post_norm=True)
    assert not any(after.layer(i).attention_norm for i in range(6))


def test_the_logits_are_of_the_decoder_where_there_is_one():
    encoder, decoder = stack(), stack(num_layers=3)
    assert ModelConfig(d_model=8, encoder=encoder, decoder=decoder).last is decoder
    assert ModelConfig(d_model=8, encoder=encoder).last is encoder


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ModelConfig(d_model=8), "encoder and decoder are both None"),
        (lambda: ModelConfig(d_model=8, encoder=stack(), num_future=1), "num_future .*decoder"),
        (lambda: ModelConfig(d_model=8, decoder=stack(), share_embeddings=False), "share_embedd"),
        (lambda: ModelConfig(d_model=8, decoder=stack(), vocab_size=1), "vocab_size"),
        (lambda: ModelConfig(d_model=8, decoder=stack(), dtype="float16"), "dtype"),
        (lambda: attention(num_kv_heads=3), "num_heads=4 .*num_kv_heads=3"),
        (lambda: attention(head_dim=6, rope=Rope(rate=0.5)), "even"),
        (lambda: attention(qk_norm="both"), "qk_norm must be one of head, width"),
        (lambda: attention(window=0), "window"),
        (lambda: Rope(rate=0.0), "rate"),
        (
            lambda: BandScaling(
                factor=2, low_frequency_factor=4, high_frequency_factor=1, original_length=8
            ),
            "high_frequency_factor must be > ",
        ),
        (lambda: YarnScaling(factor=0, original_length=8), "factor"),
        (lambda: FeedForwardConfig(hidden=8, activation="tanh"), "activation must be one of silu"),
        (lambda: mixture(top_k=9), "top_k=9 must be <= num_experts=8"),
        (lambda: mixture(num_groups=3), "num_groups=3 must divide"),
        (lambda: mixture(num_groups=4, top_groups=1, top_k=3), "top_k=3 exceeds"),
        (lambda: mixture(shared_gate=True), "shared_gate needs shared"),
        (lambda: mixture(scores="max"), "scores"),
        (lambda: mixture(load_balance=-1.0), "load_balance"),
        (lambda: stack(sum_norm=True), "sum_norm excludes"),
        (lambda: stack(pre_norm=False), "one of pre_norm"),
        (lambda: stack(num_dense=1), "num_dense > 0 and dense"),
        (
            lambda: stack(relative_bias=RelativeBiasConfig(), attention=attention(softcap=1.0)),
            "relative_bias excludes attention.softcap",
        ),
        (lambda: stack(remat="some"), "remat"),
        (lambda: LocalConfig(window=3, global_every=0), "global_every"),
        (lambda: RelativeBiasConfig(num_buckets=5), "num_buckets must be even"),
        (lambda: RelativeBiasConfig(num_buckets=32, max_distance=16), "max_distance"),
    ],
)
def test_impossible_configs_are_refused_by_name(make, words: str):
    with pytest.raises(ValueError, match=words):
        make()
