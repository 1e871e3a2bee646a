"""The fields of a config.json, one by one: each is taken, known not to matter, or refused."""

import difflib
from collections.abc import Mapping
from typing import Any

from nanojaxlm.errors import UserError
from nanojaxlm.model.config import ModelConfig


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# What no family's forward pass depends on: bookkeeping, special ids, training, generation, heads
# for classification, and how transformers runs a model.
UNUSED = words(
    "_attn_implementation _attn_implementation_autoset _name_or_path architectures "
    "attn_implementation auto_map bad_words_ids begin_suppress_tokens bos_token_id "
    "chunk_size_feed_forward classifier_dropout cls_token_id diversity_penalty do_sample "
    "early_stopping encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty "
    "finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label "
    "initializer_range label2id length_penalty mask_token_id max_length max_position_embeddings "
    "min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_labels "
    "num_return_sequences output_attentions output_hidden_states output_past output_scores "
    "pad_token_id prefix problem_type remove_invalid_values repetition_penalty return_dict "
    "return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature "
    "tf_legacy_loss tokenizer_class top_k top_p torchscript transformers_version typical_p "
    "unk_token_id use_bfloat16 use_cache"
)
# Structure that no family here has: only these values are taken.
FIXED: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "partial_rotary_factor": (None, 1, 1.0),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
    "tie_encoder_decoder": (False,),
    "use_mrope": (None, False),
}
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu_squared",
}
_REQUIRED: Any = object()


class Fields:
    """A config.json, or an object within it, that a family reads field by field.

    >>> fields = Fields({"hidden_size": 8, "use_cache": True}, "llama")
    >>> fields.take(int, "hidden_size")
    8
    >>> fields.finish()  # all is taken or known not to matter
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        where: str,
        unused: frozenset[str] = UNUSED,
        fixed: Mapping[str, tuple[Any, ...]] = FIXED,
    ):
        """where: begins what an error says ("llama", "t5gemma's encoder")."""
        self._config, self._where = config, where
        self._fixed = dict(fixed)
        self._known = set(unused)

    def take(self, kind: type, *names: str, default: Any = _REQUIRED) -> Any:
        """The first of these fields that is there, of this kind (a whole number is a float too).

        null counts as absent where there is a default.

        Raises:
            UserError: it is of another kind, or is absent and has no default.
        """
        self._known.update(names)
        for name in names:
            self._fixed.pop(name, None)
            value = self._config.get(name)
            if value is not None:
                return self._kind(kind, name, value)
        if default is _REQUIRED:
            raise UserError(f"{self._where}: the field {names[0]} is missing")
        return default

    def take_or_null(self, kind: type, name: str, default: Any) -> Any:
        """As `take`, but null means None and only absence the default."""
        if name in self._config and self._config[name] is None:
            self._known.add(name)
            return None
        return self.take(kind, name, default=default)

    def positive(self, *names: str, default: Any = _REQUIRED) -> Any:
        """As `take(int, …)`, and above 0 where it is given."""
        value = self.take(int, *names, default=default)
        if value is not None and value <= 0:
            raise UserError(f"{self._where}: {names[0]} must be > 0, got {value}")
        return value

    def activation(self, *names: str, default: Any = _REQUIRED) -> str:
        """An activation, in our words."""
        name = self.take(str, *names, default=default)
        if name not in ACTIVATIONS:
            raise UserError(
                f"{self._where}: {names[0]}={name!r} is not supported; only "
                f"{', '.join(ACTIVATIONS)} are"
            )
        return ACTIVATIONS[name]

    def only(self, name: str, *allowed: Any) -> None:
        """Refuses a field that is there with another value than these."""
        self._fixed[name] = allowed

    def refuse(self, name: str, supported: str) -> None:
        """Raises a UserError: this field's value is not supported, that is."""
        raise UserError(
            f"{self._where}: {name}={self._config.get(name)!r} is not supported; {supported}"
        )

    def finish(self) -> None:
        """Refuses what is left.

        Raises:
            UserError: naming a field that is unknown, or of a value that is not supported.
        """
        for name, allowed in self._fixed.items():
            if name in self._config and self._config[name] not in allowed:
                values = " or ".join(repr(value) for value in allowed)
                self.refuse(name, f"only {values} is")
        known = self._known | set(self._fixed)
        for name, value in self._config.items():
            if name not in known:
                near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
                raise UserError(
                    f"{self._where}: the field {name}={value!r} is unknown, so what the model "
                    f"computes is not certain; the nearest known is {near[0]}"
                )

    def dtype(self) -> str:
        """What activations are computed in: bfloat16 for weights of 2 bytes, else float32."""
        stored = self.take(str, "dtype", "torch_dtype", default="float32")
        self.take(str, "torch_dtype", default=None)
        known = {"float32": "float32", "bfloat16": "bfloat16", "float16": "bfloat16"}
        if stored not in known:
            self.refuse("dtype", f"only {', '.join(known)} are")
        return known[stored]

    def _kind(self, kind: type, name: str, value: Any) -> Any:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UserError(f"{self._where}: {name} must be of type {kind.__name__}, got {value!r}")
        return value


def vocabulary(config: ModelConfig) -> int:
    """The rows of the embeddings.

    Raises:
        UserError: the model does not say.
    """
    if config.vocab_size is None:
        raise UserError("model.vocab_size is None; give the number of the embeddings' rows")
    return config.vocab_size
