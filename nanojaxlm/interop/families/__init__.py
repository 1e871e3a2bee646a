"""The families: for each, config.json to and from ours, and a table of its tensors."""

from nanojaxlm.interop.families.bert import BERT, ROBERTA
from nanojaxlm.interop.families.gemma import GEMMA2, GEMMA3
from nanojaxlm.interop.families.gpt2 import GPT2
from nanojaxlm.interop.families.llama import LLAMA, MISTRAL, OLMO2, QWEN2, QWEN3
from nanojaxlm.interop.families.mixtures import DOTS1, MIXTRAL, QWEN2_MOE, QWEN3_MOE
from nanojaxlm.interop.families.modernbert import MODERNBERT
from nanojaxlm.interop.families.t5 import T5
from nanojaxlm.interop.families.t5gemma import T5GEMMA
from nanojaxlm.interop.family import Family

FAMILIES: tuple[Family, ...] = (
    GPT2,
    LLAMA,
    MISTRAL,
    QWEN2,
    QWEN3,
    GEMMA2,
    GEMMA3,
    OLMO2,
    MIXTRAL,
    QWEN2_MOE,
    QWEN3_MOE,
    DOTS1,
    BERT,
    ROBERTA,
    MODERNBERT,
    T5,
    T5GEMMA,
)
