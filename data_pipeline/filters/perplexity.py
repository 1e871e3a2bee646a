"""Perplexity: how surprising a text is to a language model that learned from the user's documents.

    python -m data_pipeline.filters.perplexity --documents=GOOD --output=model.npz

GOOD is what data_pipeline reads: files, folders, globs, URLs; repeat the flag for more. One
document in ten (by hash) is held out; the bits per byte of those are printed, and where their
thirds end. Source code teaches nothing, pages teach their main text. Then in the curation's config:
perplexity=PerplexityConfig(model="model.npz").

The idea is CCNet's (Wenzek et al. 2020, section 3.3): a model of text like Wikipedia's sorts a
crawl into head, middle and tail, the thirds with the least, middling and most surprise. There it is
a 5-gram model of SentencePiece pieces by KenLM, which publishes no wheels; here it is one of bytes
(ngrams.py) that needs nothing, sees about a word, and is compared in bits per byte: 2 to the power
of that is the perplexity of a byte. Train one for each language.

Exit codes: 0 done, 2 a mistake in the command or the data, 75 worth retrying.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from absl import flags
from rich.console import Console

from data_pipeline.document import CODE, Verdicts
from data_pipeline.filters import lessons, model_file
from data_pipeline.filters.ngrams import MAX_ORDER, Ngrams, learn
from data_pipeline.stage import Judged
from nanojaxlm import errors
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import parse_command_line

KIND = "perplexity, version 1"
COMMAND = "data_pipeline.filters.perplexity"
BUCKETS = ("head", "middle", "tail")
_MIN_HELD_OUT = 30  # documents for the thirds; of fewer, their passages are taken
_TABLES = ("grams", "gram_costs", "contexts", "context_costs")


@dataclass(frozen=True, kw_only=True)
class PerplexityConfig:
    """model: a file that the training command wrote.

    max_bits_per_byte, min_bits_per_byte: None = no limit; what is above surprises too much (noise,
    another language), what is below too little (boilerplate that was learned by heart; a repetition
    does not show here, since the model does not adapt to the text). keep_buckets: which of "head",
    "middle" and "tail" to keep.
    """

    model: str
    max_bits_per_byte: float | None = None
    min_bits_per_byte: float | None = None
    keep_buckets: tuple[str, ...] = BUCKETS

    def __post_init__(self):
        if not self.model:
            raise ValueError(f"model names a file; python -m {COMMAND} makes one")
        low, high = self.min_bits_per_byte, self.max_bits_per_byte
        for name, bound in (("min_bits_per_byte", low), ("max_bits_per_byte", high)):
            if bound is not None and not 0 < bound < np.inf:
                raise ValueError(f"{name} must be > 0 and finite, or None, got {bound}")
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"min_bits_per_byte must be below max_bits_per_byte, got {low} and {high}"
            )
        unknown = [name for name in self.keep_buckets if name not in BUCKETS]
        if unknown or not self.keep_buckets:
            raise ValueError(
                f"keep_buckets names one at least of {', '.join(BUCKETS)}, got {self.keep_buckets}"
            )


@dataclass(frozen=True, kw_only=True)
class PerplexityTraining:
    """order: bytes of the longest n-gram. max_grams: kept; each takes up to 100 bytes in memory."""

    order: int = 6
    max_grams: int = 2**21

    def __post_init__(self):
        if not 1 <= self.order <= MAX_ORDER:
            raise ValueError(f"order is from 1 to {MAX_ORDER}, got {self.order}")
        if self.max_grams < 1:
            raise ValueError(f"max_grams must be >= 1, got {self.max_grams}")


class Perplexity:
    """The stage: bits per byte of every document that is no source code, and its bucket."""

    name, rewrites = "perplexity", False

    def __init__(self, config: PerplexityConfig):
        """Raises UserError where the model's file is missing, damaged or of something else."""
        self.config = config
        self.files = (config.model,)
        self._model()

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Reasons "too_predictable", "too_surprising", "unwanted_bucket"; score = bits per byte."""
        config, model = self.config, self._model()
        prose = pc.not_equal(batch["kind"], CODE).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(prose)
        found, buckets = np.full(len(batch), np.nan), np.full(len(batch), None, object)
        found[rows] = model.bits_per_byte(batch["text"].take(pa.array(rows)))
        judged = np.flatnonzero(~np.isnan(found))
        buckets[judged] = model.buckets(found[judged])
        verdicts = Verdicts.keep_all(len(batch))
        if config.min_bits_per_byte is not None:
            verdicts.drop("too_predictable", found < config.min_bits_per_byte, found)
        if config.max_bits_per_byte is not None:
            verdicts.drop("too_surprising", found > config.max_bits_per_byte, found)
        unwanted = ~np.isnan(found) & ~np.isin(buckets.astype(str), config.keep_buckets)
        verdicts.drop("unwanted_bucket", unwanted, found)
        return Judged(
            verdicts, notes={"perplexity_bucket": buckets}, measures={"bits_per_byte": found}
        )

    def _model(self) -> "Model":
        return model_file.load(self.config.model, Model.from_bytes, "perplexity.model", COMMAND)


@dataclass(frozen=True, eq=False)
class Model:
    """ngrams, and the bits per byte where the head of the held-out texts ends, and the middle."""

    ngrams: Ngrams
    ends: tuple[float, float]

    @classmethod
    def from_bytes(cls, content: bytes) -> "Model":
        """Raises ValueError of what is no model of perplexity."""
        about, arrays = model_file.from_bytes(content, KIND)
        try:
            ngrams = Ngrams(int(about["order"]), *(arrays[name] for name in _TABLES))
            head, middle = map(float, about["ends"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"is damaged: {error!r}") from error
        if not 0 <= head <= middle < np.inf:
            raise ValueError(f"is damaged: its buckets end at {head} and {middle}")
        return cls(ngrams, (head, middle))

    def to_bytes(self) -> bytes:
        """The content of its file."""
        tables = {name: getattr(self.ngrams, name) for name in _TABLES}
        about = {"order": self.ngrams.order, "ends": self.ends}
        return model_file.to_bytes(KIND, about, tables)

    def bits_per_byte(self, texts: pa.Array) -> np.ndarray:
        """float64 [N] of large_string [N]; NaN of a text without a byte."""
        sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False)
        rates = np.full(len(texts), np.nan)
        return np.divide(self.ngrams.bits(texts), sizes, out=rates, where=sizes > 0)

    def buckets(self, bits_per_byte: np.ndarray) -> np.ndarray:
        """object [N] of BUCKETS; what lies on an end belongs to the bucket before it."""
        return np.array(BUCKETS, object)[np.searchsorted(self.ends, bits_per_byte, "left")]


def fit(
    texts: Iterable[str], training: PerplexityTraining
) -> tuple[Model, np.ndarray, Sequence[str]]:
    """A model of nine tenths of the texts, with the thirds of the others.

    Returns:
        model; float64 [K] bits per byte of the held-out texts, or of their passages where they are
        few; these texts.

    Raises:
        UserError: fewer than two different texts.
    """
    learned, held = lessons.hold_out(text for text in texts if text)
    ngrams = learn(learned, training.order, training.max_grams)
    if len(held) < _MIN_HELD_OUT:
        held = lessons.passages(held)
    rates = Model(ngrams, (0.0, 0.0)).bits_per_byte(pa.array(held, pa.large_string()))
    head, middle = np.quantile(rates, [1 / 3, 2 / 3]).tolist()
    return Model(ngrams, (head, middle)), rates, held


def train(texts: Iterable[str], training: PerplexityTraining = PerplexityTraining()) -> bytes:
    """The content of a model file, learned from the texts; see `fit`."""
    return fit(texts, training)[0].to_bytes()


_FLAGS = flags.FlagValues()
_DOCUMENTS = flags.DEFINE_multi_string(
    "documents", [], "Documents of the wanted kind; repeat it for more.", flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string("output", None, "The model's file, .npz.", flag_values=_FLAGS)
_ORDER = flags.DEFINE_integer(
    "order", PerplexityTraining().order, "Bytes of the longest n-gram.", flag_values=_FLAGS
)
_MEGABYTES = flags.DEFINE_float(
    "max_megabytes",
    50.0,
    "Learn from a sample of 10^6 times so many characters.",
    flag_values=_FLAGS,
)


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv, _FLAGS)
    try:
        training = PerplexityTraining(order=_ORDER.value)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not (_DOCUMENTS.value and _OUTPUT.value):
        raise UserError("--documents and --output are both needed")
    if not _MEGABYTES.value > 0:
        raise UserError(f"--max_megabytes must be > 0, got {_MEGABYTES.value}")
    texts = lessons.read_texts(_DOCUMENTS.value, "documents", _MEGABYTES.value)
    try:
        model, rates, held = fit(texts, training)
    except UserError as error:
        raise UserError(f"--documents: {error}") from None
    model_file.write(_OUTPUT.value, model.to_bytes())
    console = Console()
    low, high = np.quantile(rates, [0.01, 0.99])
    lines = (
        f"{len(texts):,} documents, {len(model.ngrams.grams):,} n-grams of 1 to "
        f"{model.ngrams.order} bytes",
        f"held out, {len(held):,} texts: median {np.median(rates):.3f} bits per byte, 1% below "
        f"{low:.3f}, 1% above {high:.3f}",
        f"head up to {model.ends[0]:.3f}, middle up to {model.ends[1]:.3f}, tail above; "
        f"{_OUTPUT.value} written",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    errors.run(main, sys.argv)
