"""The other implementation asked: transformers' logits and ids, in a process of its own.

    python -P nanojaxlm/interop/peer.py FOLDER QUESTIONS.npz ANSWERS.npz

QUESTIONS: tokens_i [B, T], decoder_tokens_i where the model has both stacks, texts (JSON).
ANSWERS: logits_i float32 [B, T, V]; ids and decoded, of the texts, and versions (JSON). It imports
nothing of this project, so that neither can lean on the other.
"""

import importlib
import json
import sys
from typing import Any

import numpy as np


def main(folder: str, questions: str, answers: str) -> None:
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    asked = dict(np.load(questions))
    model = load(transformers, torch, folder)
    answered = {}
    with torch.inference_mode():
        for name in sorted(asked):
            if not name.startswith("tokens_"):
                continue
            i = name.removeprefix("tokens_")
            tokens = torch.from_numpy(asked[name]).long()
            arguments = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
            if f"decoder_tokens_{i}" in asked:
                decoder_tokens = torch.from_numpy(asked[f"decoder_tokens_{i}"]).long()
                arguments["decoder_input_ids"] = decoder_tokens
                arguments["decoder_attention_mask"] = torch.ones_like(decoder_tokens)
            answered[f"logits_{i}"] = model(**arguments, use_cache=False).logits.float().numpy()
    texts = json.loads(str(asked["texts"]))
    if texts:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        answered["ids"] = np.array(json.dumps(ids))
        answered["decoded"] = np.array(json.dumps([decoded(tokenizer, one) for one in ids]))
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    answered["versions"] = np.array(json.dumps(versions))
    np.savez(answers, **answered)


def load(transformers: Any, torch: Any, folder: str) -> Any:
    """The model in float32, every tensor of it from the folder and none left over."""
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.is_encoder_decoder:
        auto = transformers.AutoModelForSeq2SeqLM
    elif config.architectures[0].endswith("ForMaskedLM"):
        auto = transformers.AutoModelForMaskedLM
    else:
        auto = transformers.AutoModelForCausalLM
    model, info = auto.from_pretrained(
        folder,
        local_files_only=True,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",  # its grouped product takes some widths only
        output_loading_info=True,
    )
    wrong = {name: sorted(map(str, found)) for name, found in info.items() if found}
    if wrong:
        sys.exit(f"transformers finds the weights wanting: {json.dumps(wrong)}")
    return model.eval()


def decoded(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
