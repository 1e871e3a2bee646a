"""A tokenizer.json out of the files that came before it: vocab.txt; vocab.json and merges.txt."""

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from nanojaxlm.errors import UserError

# How Qwen 2 and 3 cut a text (transformers, models/qwen2/tokenization_qwen2.py).
_QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def word_pieces(vocabulary: str, config: Mapping[str, Any]) -> str:
    """BERT's tokenizer.json.

    Args:
        vocabulary: the text of vocab.txt, a piece a line, its id the line's number from 0.
        config: tokenizer_config.json; do_lower_case, strip_accents, tokenize_chinese_chars.

    Raises:
        UserError: no [UNK], [CLS] or [SEP] in it.
    """
    ids = {line.rstrip("\r"): i for i, line in enumerate(vocabulary.removesuffix("\n").split("\n"))}
    missing = [name for name in ("[UNK]", "[CLS]", "[SEP]") if name not in ids]
    if missing:
        raise UserError(f"vocab.txt has no {', '.join(missing)}; name a WordPiece vocabulary")
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer.add_special_tokens([name for name in names if name in ids])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer.to_str()


def byte_pairs(vocabulary: str, merges: str, config: Mapping[str, Any]) -> str:
    """The tokenizer.json of a byte-level BPE: GPT-2's, RoBERTa's or Qwen's.

    Args:
        vocabulary: the text of vocab.json, piece -> id.
        merges: the text of merges.txt, "left right" a line, the first merged first.
        config: tokenizer_config.json; its tokenizer_class and added_tokens_decoder.

    Raises:
        UserError: files that do not belong together.
    """
    lines = [line for line in merges.split("\n") if line and not line.startswith("#version")]
    try:
        ids = json.loads(vocabulary)
        pairs = [line.rstrip("\r").split(" ") for line in lines]
        tokenizer = Tokenizer(models.BPE(ids, [(left, right) for left, right in pairs]))
    except Exception as error:  # the library raises Exception itself
        raise UserError(
            f"vocab.json and merges.txt do not belong together ({error}); name the two of one model"
        ) from error
    prefix = bool(config.get("add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    if config.get("tokenizer_class", "").startswith("Qwen"):
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_QWEN_PIECES), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
            ]
        )
    names = [name for name in ("<s>", "<pad>", "</s>", "<unk>") if name in ids]
    if "<mask>" in ids:  # RoBERTa's takes the space before it along
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    if "<s>" in ids and "</s>" in ids:
        tokenizer.post_processor = processors.RobertaProcessing(
            ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=prefix
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    names += [name for name in ("<|endoftext|>",) if name in ids]
    tokenizer.add_special_tokens(names)
    added = config.get("added_tokens_decoder", {})
    for i, token in sorted(added.items(), key=lambda item: int(item[0])):
        fields = {name: token.get(name, False) for name in ("lstrip", "rstrip", "normalized")}
        tokens = [AddedToken(token["content"], **fields)]
        is_special = token.get("special", True)
        (tokenizer.add_special_tokens if is_special else tokenizer.add_tokens)(tokens)
        if tokenizer.token_to_id(token["content"]) != int(i):
            raise UserError(
                f"tokenizer_config.json gives {token['content']!r} the id {i}, but the vocabulary "
                f"has {tokenizer.get_vocab_size()} ids by then; name the files of one model"
            )
    return tokenizer.to_str()
