"""Words and shingles: what near duplicates have in common.

A shingle is a run of n words, words as the pattern \\w+ finds them in the lower-case text (Broder
1997). A text of fewer words has one shingle, all of it; a text without a word has none. The Jaccard
similarity of two texts is that of the sets of their shingles.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.engine import col, evaluate

# What is not a word, as one match where it can be: this takes half the time of \W+.
BETWEEN_WORDS = r" *[^\w ]\W*|  +"
MAX_SKETCH = 2**16  # shingles; of a longer text these many smallest hashes are kept


def normal_texts(texts: pa.Array) -> pa.Array:
    """large_string [N] of lower-case words with one space between them."""
    normal = col("text").lower().regexp_replace(BETWEEN_WORDS, " ").alias("text")
    table = pa.table({"text": texts.cast(pa.large_string())})
    return pc.ascii_trim(evaluate(table, normal)["text"].combine_chunks(), " ")


def minhashes(normal: pa.Array, num_hashes: int, ngram_words: int, seed: int) -> np.ndarray:
    """uint32 [N, num_hashes]: the smallest of each of num_hashes permutations of the shingles.

    The rate of equal hashes of two texts estimates their similarity s, with a standard error of
    sqrt(s (1 - s) / num_hashes). Those of a text without words mean nothing.
    """
    signature = col("text").minhash(
        num_hashes=num_hashes, ngram_size=ngram_words, seed=seed, hash_function="xxhash3_64"
    )
    found = evaluate(pa.table({"text": normal}), signature.alias("signature"))
    values = found["signature"].combine_chunks().flatten().to_numpy()
    return values.reshape(len(normal), num_hashes)


def sketches(normal: pa.Array, ngram_words: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The different shingles of each text as hashes, the MAX_SKETCH smallest at most.

    Returns:
        values uint32 [sum of counts], those of a text ascending, one text after the other; counts
        int64 [N], 0 for a text without words.
    """
    words = pc.split_pattern(normal, " ")
    num_words = np.where(
        pc.binary_length(normal).to_numpy(False) > 0, pc.list_value_length(words).to_numpy(False), 0
    )
    flat = pa.table({"word": words.flatten()})
    word_hash = evaluate(flat, col("word").hash(seed=seed).alias("hash"))["hash"].to_numpy()
    starts = np.cumsum(num_words) - num_words
    if (num_words == 0).any():  # an empty text is split into one empty word
        word_hash = word_hash[pc.binary_length(flat["word"]).to_numpy() > 0]
    padded = np.concatenate([word_hash, np.zeros(ngram_words, np.uint64)])
    short = np.flatnonzero((num_words > 0) & (num_words < ngram_words))
    total, short_total = np.zeros(len(word_hash), np.uint64), np.zeros(len(short), np.uint64)
    for place, factor in enumerate(_odd_numbers(ngram_words, seed)):
        total += padded[place : place + len(total)] * factor
        short_total += padded[starts[short] + place] * factor * (place < num_words[short])
    total[starts[short]] = short_total
    begins = np.ones(len(total), bool)
    for place in range(1, ngram_words):  # from the last words of a text no shingle begins
        begins[(starts + num_words)[num_words >= place] - place] = False
    begins[starts[short]] = True
    num_shingles = np.where(num_words > 0, np.maximum(num_words - ngram_words + 1, 1), 0)
    rows = np.repeat(np.arange(len(normal), dtype=np.uint64), num_shingles)
    packed = (rows << np.uint64(32)) | (_mixed(total[begins]) >> np.uint64(32))
    packed.sort()
    packed = packed[np.diff(packed, prepend=np.uint64(2**64 - 1)) != 0]
    counts = np.bincount((packed >> np.uint64(32)).astype(np.int64), minlength=len(normal))
    if len(counts) and counts.max() > MAX_SKETCH:
        place = np.arange(len(packed)) - np.repeat(np.cumsum(counts) - counts, counts)
        packed, counts = packed[place < MAX_SKETCH], np.minimum(counts, MAX_SKETCH)
    return packed.astype(np.uint32), counts


def combined(values: np.ndarray, seed: int) -> np.ndarray:
    """uint64 [N]: a hash of each row of uint32 [N, R] (multilinear, then the mix of splitmix64)."""
    total = np.zeros(len(values), np.uint64)
    for place, factor in enumerate(_odd_numbers(values.shape[1], seed)):
        total += values[:, place].astype(np.uint64) * factor
    return _mixed(total)


def _odd_numbers(num: int, seed: int) -> np.ndarray:
    return _mixed(np.arange(1, num + 1, dtype=np.uint64) + (np.uint64(seed) << np.uint64(32))) | 1


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
