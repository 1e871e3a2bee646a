"""Prompts as token ids, as the model's training texts were."""

from collections.abc import Sequence

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.model.config import ModelConfig

MIDDLE = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")


def whole_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """What an encoder reads: BOS, the ids and EOS, as in a token store; no BOS where the tokenizer
    has none of its own (T5). Names of special tokens in the text are read as those."""
    begin = [] if tokenizer.bos_id == tokenizer.eos_id else [tokenizer.bos_id]
    return [*begin, *tokenizer.encode(text, special=True), tokenizer.eos_id]


def begun_text(tokenizer: Tokenizer, text: str, *, special: bool = False) -> list[int]:
    """What a decoder continues: BOS and the ids. special: names of special tokens in the text are
    read as those."""
    return [tokenizer.bos_id, *tokenizer.encode(text, special=special)]


def middle_text(tokenizer: Tokenizer, before: str, after: str) -> list[int]:
    """What a decoder that was trained to fill in the middle continues with it: the prefix, the
    suffix, and the token that asks for what is between (Bavarian et al. 2022, PSM).

    Raises:
        UserError: the tokenizer lacks the three tokens.
    """
    prefix_id, suffix_id, middle_id = (tokenizer.special_id(name) for name in MIDDLE)
    return [
        tokenizer.bos_id,
        prefix_id,
        *tokenizer.encode(before),
        suffix_id,
        *tokenizer.encode(after),
        middle_id,
    ]


def check_positions(config: ModelConfig, length: int) -> None:
    """Raises:
    UserError: rows of `length` tokens go beyond the model's learned positions.
    """
    table = config.embed.num_positions
    if table is None:
        return
    most = table - config.embed.first_position
    if length > most:
        raise UserError(
            f"{length} tokens are more than the {most} positions the model has learned; shorten "
            "the text, or ask for fewer tokens"
        )


def check_prompts(prompts: Sequence[Sequence[int]]) -> None:
    """Raises:
    UserError: none, or one without tokens.
    """
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise UserError("a prompt has no tokens; begin it with the tokenizer's BOS")
