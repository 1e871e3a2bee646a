"""A trainable classifier of quality: which of two collections a document resembles.

    python -m data_pipeline.filters.quality --positives=GOOD --negatives=BAD --output=model.npz

GOOD and BAD are what data_pipeline reads: files, folders, globs, URLs; repeat a flag for more. One
document in ten (by hash) is held out, and the accuracy, the area under the ROC curve and what each
threshold would keep are printed of those. Source code teaches nothing, pages teach their main text.
Then in the curation's config: quality=QualityConfig(model="model.npz").

The model is a logistic regression on hashed n-grams of words: the idea of GPT-3's filter (Brown et
al. 2020, appendix A) and of DCLM's fastText classifier (Li et al. 2024; Joulin et al. 2017), of
which the features here are: the average over a document's words and pairs of words,

    p(good | d) = 1 / (1 + exp(-b - 1/|d| sum_{g in d} w[hash(g)]))

fitted by L-BFGS with an L2 penalty, both classes weighing the same whatever their sizes. A word is
a run of letters and digits, of marks, or one character of a script without spaces.

Exit codes: 0 done, 2 a mistake in the command or the data, 75 worth retrying.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import string
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from absl import flags
from rich.console import Console
from rich.table import Table

from data_pipeline.dedup.words import codes_at, mixed, span_hashes, text_buffer, unspaced
from data_pipeline.document import CODE, Verdicts
from data_pipeline.filters import lessons, model_file
from data_pipeline.filters.ngrams import portions
from data_pipeline.stage import Judged
from nanojaxlm import errors
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import parse_command_line

KIND = "quality, version 1"
COMMAND = "data_pipeline.filters.quality"
_SPACE, _LETTER, _MARK = 0, 1, 2
_CLASSES = np.full(256, _MARK, np.uint8)
_CLASSES[list(b" \t\n\r\v\f")] = _SPACE
_CLASSES[[ord(c) for c in string.ascii_letters + string.digits + "_"]] = _LETTER
_CLASSES[128:] = _LETTER
_PORTION = 10**6  # bytes (of a long text: characters) looked at together
_LONG = 4 * 10**6  # bytes
_NEXT = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """model: a file that the training command wrote. min_score: the probability to be kept with."""

    model: str
    min_score: float = 0.5

    def __post_init__(self):
        if not self.model:
            raise ValueError(f"model names a file; python -m {COMMAND} makes one")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is a probability, from 0 to 1, got {self.min_score}")


@dataclass(frozen=True, kw_only=True)
class QualityTraining:
    """log2_buckets: of the table that n-grams are hashed into. max_ngram: words of the longest.

    l2: penalty on the squared weights, of features whose mean square is one.
    """

    log2_buckets: int = 20
    max_ngram: int = 2
    l2: float = 1e-4

    def __post_init__(self):
        if not 8 <= self.log2_buckets <= 26:
            raise ValueError(f"log2_buckets is from 8 to 26, got {self.log2_buckets}")
        if not 1 <= self.max_ngram <= 5:
            raise ValueError(f"max_ngram is from 1 to 5, got {self.max_ngram}")
        if not self.l2 > 0:
            raise ValueError(f"l2 must be > 0, else the weights have no bound; got {self.l2}")


class Quality:
    """The stage: drops what the model finds too unlike its positives; source code is not judged."""

    name, rewrites = "quality", False

    def __init__(self, config: QualityConfig):
        """Raises UserError where the model's file is missing, damaged or no model of quality."""
        self.config = config
        self.files = (config.model,)
        self._model()

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Reason "low_quality", score = the probability, which is noted as "quality" too."""
        prose = pc.not_equal(batch["kind"], CODE).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(prose)
        found, noted = np.full(len(batch), np.nan), np.full(len(batch), None, object)
        found[rows] = self._model().probabilities(batch["text"].take(pa.array(rows)))
        noted[rows] = [round(p, 2) for p in found[rows].tolist()]
        verdicts = Verdicts.keep_all(len(batch))
        verdicts.drop("low_quality", found < self.config.min_score, found)
        return Judged(verdicts, notes={"quality": noted}, measures={"quality": found})

    def _model(self) -> "Classifier":
        return model_file.load(self.config.model, Classifier.from_bytes, "quality.model", COMMAND)


@dataclass(frozen=True, eq=False)
class Classifier:
    """weights: int32 [2^log2_buckets], in units of `unit`, so that sums of them are exact."""

    weights: np.ndarray
    unit: float
    bias: float
    max_ngram: int

    def __post_init__(self):
        num = len(self.weights)
        if self.weights.dtype != np.int32 or self.weights.ndim != 1 or num & (num - 1) or num < 2:
            raise ValueError("is damaged: its weights are no table of int32")
        if not (np.isfinite(self.unit) and np.isfinite(self.bias) and self.max_ngram >= 1):
            raise ValueError("is damaged: its numbers are not finite")

    @classmethod
    def from_bytes(cls, content: bytes) -> "Classifier":
        """Raises ValueError of what is no model of quality."""
        about, arrays = model_file.from_bytes(content, KIND)
        try:
            return cls(
                arrays["weights"],
                float(about["unit"]),
                float(about["bias"]),
                int(about["max_ngram"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"is damaged: {error!r}") from error

    def to_bytes(self) -> bytes:
        """The content of its file."""
        about = {"unit": self.unit, "bias": self.bias, "max_ngram": self.max_ngram}
        return model_file.to_bytes(KIND, about, {"weights": self.weights})

    def probabilities(self, texts: pa.Array) -> np.ndarray:
        """float64 [N] of large_string [N]: that a text is of the positives' kind.

        It depends on the text alone, to the last bit, not on its batch. Of a text above _LONG
        bytes, portions are looked at one by one, and no n-gram that reaches from one to the next.
        """
        sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False)
        totals, counts = np.zeros((2, len(texts)), np.int64)
        for row in np.flatnonzero(sizes > _LONG).tolist():
            text = texts[row].as_py()
            for start in range(0, len(text), _PORTION):
                some = self._sums(pa.array([text[start : start + _PORTION]], pa.large_string()))
                totals[row] += some[0][0]
                counts[row] += some[1][0]
        rows = np.flatnonzero(sizes <= _LONG)
        texts = texts.take(pa.array(rows))
        for start, end in portions(texts, _PORTION):
            here = rows[start:end]
            totals[here], counts[here] = self._sums(texts.slice(start, end - start))
        logits = self.bias + self.unit * (totals / np.maximum(counts, 1))
        return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))

    def _sums(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """int64 [N]: of the weights of each text's n-grams, and how many these are."""
        ids, bounds = ngram_ids(texts, self.max_ngram, len(self.weights).bit_length() - 1)
        total = np.zeros(len(ids) + 1, np.int64)
        np.cumsum(self.weights[ids], out=total[1:])
        return np.diff(total[bounds]), np.diff(bounds)


def ngram_ids(texts: pa.Array, max_ngram: int, log2_buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """The buckets of the n-grams of 1 to max_ngram words of N texts; none reaches over an end.

    Returns:
        ids: uint32 [F], text by text. bounds: int64 [N + 1], where each text's begin, and F.
    """
    hashes, firsts = _word_hashes(pc.ascii_lower(texts))
    shift = np.uint64(64 - log2_buckets)
    num, counts = len(hashes), np.diff(firsts)
    # Column k: the n-grams of k + 1 words, by their first word; there: it lies within its text.
    ids = np.empty((num, max_ngram), np.uint32)
    there = np.empty((num, max_ngram), bool)
    left = np.repeat(firsts[1:], counts) - np.arange(num)  # words from each to the text's end
    gram = hashes
    for k in range(max_ngram):
        if k:
            whole = max(num - k, 0)
            gram = gram.copy()
            gram[:whole] = mixed(gram[:whole] * _NEXT + hashes[k:])
        ids[:, k] = gram >> shift
        there[:, k] = left > k
    bounds = np.zeros(len(firsts), np.int64)
    np.cumsum(np.maximum(counts[:, None] - np.arange(max_ngram), 0).sum(1), out=bounds[1:])
    return ids[there], bounds


def _word_hashes(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [W] of all words, int64 [N + 1] the first of each text, and W."""
    data, offsets = text_buffer(texts)
    size = int(offsets[-1])
    classes = np.frombuffer(data[:size].tobytes().translate(_CLASSES.tobytes()), np.uint8)
    cuts = np.ones(size + 1, bool)
    np.not_equal(classes[1:], classes[:-1], out=cuts[1:-1])
    cuts[offsets] = True
    leads = np.flatnonzero(data[:size] >= 0xC0)
    if len(leads):
        codes, sizes = codes_at(data, leads)
        alone = unspaced(codes)
        cuts[leads[alone]] = cuts[(leads + sizes)[alone]] = True
    places = np.flatnonzero(cuts)
    inked = classes[places[:-1]] != _SPACE
    starts, ends = places[:-1][inked], places[1:][inked]
    return span_hashes(data, starts, ends), np.searchsorted(starts, offsets)


def fit(
    positive_texts: Iterable[str], negative_texts: Iterable[str], training: QualityTraining
) -> Classifier:
    """A model that tells the texts apart; long ones teach in passages.

    Raises:
        UserError: a side has no text.
    """
    from scipy import optimize, sparse

    sides = [lessons.passages(positive_texts), lessons.passages(negative_texts)]
    if not all(sides):
        raise UserError("there must be positive and negative documents to learn from")
    is_good = np.repeat([1.0, 0.0], [len(side) for side in sides])
    texts = pa.array(sides[0] + sides[1], pa.large_string())
    ids, bounds = ngram_ids(texts, training.max_ngram, training.log2_buckets)
    rates = np.repeat(1 / np.maximum(np.diff(bounds), 1), np.diff(bounds)).astype(np.float32)
    num_buckets = 1 << training.log2_buckets
    x = sparse.csr_matrix((rates, ids.view(np.int32), bounds), (len(texts), num_buckets))
    x.sum_duplicates()
    # An n-gram of a single passage tells that passage, no kind of text.
    buckets = np.flatnonzero(np.bincount(x.indices, minlength=num_buckets) > 1)
    x = x[:, buckets]
    size = float(np.sqrt((x.data.astype(np.float64) ** 2).sum() / len(texts))) or 1.0
    x = x * np.float32(1 / size)
    transposed = x.T.tocsr()
    shares = np.where(is_good == 1, 0.5 / len(sides[0]), 0.5 / len(sides[1]))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        w, bias = parameters[:-1], parameters[-1]
        logits = x @ w.astype(np.float32) + bias
        signed = np.where(is_good == 1, -logits, logits)
        miss = shares * (1 / (1 + np.exp(-signed)) * np.where(is_good == 1, -1, 1))
        value = shares @ np.logaddexp(0, signed) + training.l2 / 2 * (w @ w)
        slope = transposed @ miss.astype(np.float32) + training.l2 * w
        return float(value), np.append(slope, miss.sum())

    start = np.zeros(len(buckets) + 1)
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300, "gtol": 1e-6}
    ).x
    weights = np.zeros(num_buckets)
    weights[buckets] = found[:-1] / size
    unit = float(np.abs(weights).max()) / 2**24 or 1.0
    return Classifier(
        np.rint(weights / unit).astype(np.int32), unit, float(found[-1]), training.max_ngram
    )


def train(
    positive_texts: Iterable[str],
    negative_texts: Iterable[str],
    training: QualityTraining = QualityTraining(),
) -> bytes:
    """The content of a model file, learned from all of the texts; see `fit`."""
    return fit(positive_texts, negative_texts, training).to_bytes()


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often a positive scores above a negative, a tie counting half (Mann and Whitney 1947)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / 2 / len(negative))


_FLAGS = flags.FlagValues()
_POSITIVES = flags.DEFINE_multi_string(
    "positives", [], "Documents to keep the like of; repeat it for more.", flag_values=_FLAGS
)
_NEGATIVES = flags.DEFINE_multi_string(
    "negatives", [], "Documents to drop the like of; repeat it for more.", flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string("output", None, "The model's file, .npz.", flag_values=_FLAGS)
_MEGABYTES = flags.DEFINE_float(
    "max_megabytes",
    50.0,
    "Of each side, learn from a sample of 10^6 times so many characters.",
    flag_values=_FLAGS,
)
_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def main(argv: Sequence[str]) -> None:
    parse_command_line(argv, _FLAGS)
    if not (_POSITIVES.value and _NEGATIVES.value and _OUTPUT.value):
        raise UserError("--positives, --negatives and --output are all needed")
    if not _MEGABYTES.value > 0:
        raise UserError(f"--max_megabytes must be > 0, got {_MEGABYTES.value}")
    console, learn, held = Console(), [], []
    for flag, inputs in (("positives", _POSITIVES.value), ("negatives", _NEGATIVES.value)):
        texts = lessons.read_texts(inputs, flag, _MEGABYTES.value)
        try:
            some, others = lessons.hold_out(texts)
        except UserError as error:
            raise UserError(f"--{flag}: {error}") from None
        learn.append(some)
        held.append(others)
        size = sum(map(len, some)) / 1e6
        console.print(
            f"{flag}: {len(some):,} documents to learn from ({size:.1f} million characters), "
            f"{len(others):,} held out",
            highlight=False,
        )
    model = fit(learn[0], learn[1], QualityTraining())
    model_file.write(_OUTPUT.value, model.to_bytes())
    good, bad = (model.probabilities(pa.array(texts, pa.large_string())) for texts in held)
    right = ((good >= 0.5).mean() + (bad < 0.5).mean()) / 2
    table = Table("min_score", "positives kept", "negatives kept", title="Held-out documents")
    for threshold in _THRESHOLDS:
        kept = [f"{(scores >= threshold).mean():.1%}" for scores in (good, bad)]
        table.add_row(f"{threshold:g}", *kept)
    console.print(table)
    console.print(
        f"accuracy {right:.4f} (mean of both sides, at 0.5), AUC {area_under_curve(good, bad):.4f}"
        f"; {_OUTPUT.value} written",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    errors.run(main, sys.argv)
