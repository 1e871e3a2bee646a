"""The config that an imported model is saved with: what fine-tuning it starts from."""

from itertools import count, pairwise, takewhile

from nanojaxlm.config import Config, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.objectives import CausalLM, MaskedLM, Objective, PrefixLM, SpanCorruption
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.optimizer import AdamW, WarmupCosine
from nanojaxlm.sharding import MeshConfig

LENGTH = 1024  # tokens a row, at most
SENTINELS = ("<extra_id_{}>", "<unused{}>")  # of T5; of Gemma, which has no others to spare
MAX_SENTINELS = 100
SPLIT = PrefixLM(layout="encoder")  # needs no token of its own


def whole_config(model: ModelConfig, tokenizer: Tokenizer, mesh: MeshConfig) -> Config:
    """The model with data, objective and optimizer; every field may be overridden.

    Raises:
        UserError: the tokenizer lacks what the model's objective needs.
    """
    positions = model.embed.num_positions
    usable = LENGTH if positions is None else positions - model.embed.first_position
    length = min(LENGTH, usable)
    return Config(
        model=model,
        data=DataConfig(sequence_length=length, objective=objective_of(model, tokenizer, length)),
        optimizer=AdamW(learning_rate=1e-5, schedule=WarmupCosine(warmup_steps=100)),
        training=TrainingConfig(steps=1000),
        mesh=mesh,
    )


def objective_of(model: ModelConfig, tokenizer: Tokenizer, length: int) -> Objective:
    """Causal, masked or span corruption by the model's stacks, with the vocabulary's own ids; where
    it has too few for rows of `length` tokens, a prefix and the rest instead."""
    if model.encoder is None:
        return CausalLM()
    spare = (model.vocab_size or 0) - tokenizer.base_size  # rows for tokens that we add
    if model.decoder is None:
        if tokenizer.mask_id is None and spare < 1:
            raise UserError("the tokenizer has no mask token, and vocab_size leaves no row for one")
        return MaskedLM(mask_id=tokenizer.mask_id)
    specials = tokenizer.base.specials
    choices = []
    for name in SENTINELS:
        named = takewhile(lambda i, name=name: name.format(i) in specials, count())
        ids = [specials[name.format(i)] for i in named][:MAX_SENTINELS]
        steps = {after - before for before, after in pairwise(ids)}
        if len(steps) == 1:
            first, step = ids[0], steps.pop()
            choices.append(
                SpanCorruption(num_sentinels=len(ids), first_sentinel=first, sentinel_step=step)
            )
    if spare > 0:
        choices.append(SpanCorruption(num_sentinels=min(MAX_SENTINELS, spare)))
    return next((choice for choice in choices if _serves(choice, length)), SPLIT)


def _serves(objective: Objective, length: int) -> bool:
    try:
        objective.lengths(length)
    except ValueError:  # too few sentinels
        return False
    return True
