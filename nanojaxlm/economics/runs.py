"""Published training runs: what their authors say they took, to check the planner against.

"list of runs": a public program that writes heldout-runs.json, with the page and the words of each
source, read 2026-11; the papers themselves were not opened again. "from memory": neither was.
"""

from dataclasses import dataclass

_LISTED = "; as quoted in the list of runs"
_A100, _A40, _H100 = "a100-80gb", "a100-40gb", "h100"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Hours of all chips together. active_params: that a token meets; all of a dense model.

    outlier: shown, but nothing is fitted to it. config: of configs/models, where it has the model.
    """

    name: str
    params: float
    active_params: float
    tokens: float
    chip: str
    hours: float
    sequence_length: int
    source: str
    date: str
    outlier: bool = False
    note: str = ""
    config: str | None = None

    @property
    def flops(self) -> float:
        """6·N·D, of the active parameters."""
        return 6.0 * self.active_params * self.tokens


@dataclass(frozen=True, kw_only=True)
class Steps:
    """MFU of single steps in a benchmark: no stop, no restart, no checkpoint counts.

    mfu: model FLOPs over the dense bfloat16 peak, in whatever format the products are.
    """

    name: str
    chip: str
    mfu: float
    source: str
    date: str


@dataclass(frozen=True, kw_only=True)
class Power:
    """Energy as published; pue: that of the figure, 1 where cooling is left out of it.

    measured: else it is hours times the power at full load, by its authors' own account.
    whole_server: host, network and fans are in it.
    """

    name: str
    chip: str
    hours: float
    kwh: float
    pue: float
    measured: bool
    whole_server: bool
    source: str
    date: str
    co2e_kg: float | None = None


def _dense(
    name: str, params: float, tokens: float, chip: str, hours: float, length: int,
    source: str, date: str, config: str | None = None, outlier: bool = False, note: str = "",
) -> Run:  # fmt: skip
    return Run(
        name=name, params=params, active_params=params, tokens=tokens, chip=chip, hours=hours,
        sequence_length=length, source=source, date=date, config=config, outlier=outlier, note=note,
    )  # fmt: skip


_LLAMA_1 = "Touvron et al. 2023, LLaMA, tables 2 and 15" + _LISTED
_LLAMA_2 = "Touvron et al. 2023, Llama 2, tables 1 and 2" + _LISTED
_CARD_3 = "model card of Llama 3, as quoted in a test of an accounting tool, read 2026-11"
_CARD_31 = "model card of Llama 3.1" + _LISTED
_SMALL = "implies far less than its own larger sibling; no reason is published"
_FEWER = "15T+ tokens by its card, 15.6T by its paper"
_PYTHIA = "Biderman et al. 2023, Pythia, tables 1 and 5" + _LISTED
_SPED = "hours by the time of a step: no stops are in them"

# fmt: off
PUBLISHED: tuple[Run, ...] = (
    _dense("Llama 2 7B", 6.74e9, 2e12, _A100, 184_320, 4096, _LLAMA_2, "2023-07", "llama:2-7b"),
    _dense("Llama 2 13B", 13.02e9, 2e12, _A100, 368_640, 4096, _LLAMA_2, "2023-07", "llama:2-13b"),
    _dense("Llama 2 34B", 34e9, 2e12, _A100, 1_038_336, 4096, _LLAMA_2, "2023-07",
           note="never released; its parameters are nominal"),
    _dense("Llama 2 70B", 68.98e9, 2e12, _A100, 1_720_320, 4096, _LLAMA_2, "2023-07",
           "llama:2-70b"),
    _dense("LLaMA 7B", 6.74e9, 1e12, _A100, 82_432, 2048, _LLAMA_1, "2023-02", "llama:2-7b"),
    _dense("LLaMA 13B", 13.0e9, 1e12, _A100, 135_168, 2048, _LLAMA_1, "2023-02", "llama:2-13b"),
    _dense("LLaMA 33B", 32.5e9, 1.4e12, _A100, 530_432, 2048, _LLAMA_1, "2023-02"),
    _dense("LLaMA 65B", 65.2e9, 1.4e12, _A100, 1_022_362, 2048, _LLAMA_1, "2023-02"),
    _dense("Llama 3 8B", 8.03e9, 15e12, _H100, 1.3e6, 8192, _CARD_3, "2024-04", "llama:3-8b",
           outlier=True, note=_SMALL),
    _dense("Llama 3 70B", 70.55e9, 15e12, _H100, 6.4e6, 8192, _CARD_3, "2024-04", "llama:3-70b",
           outlier=True, note=_SMALL),
    _dense("Llama 3.1 8B", 8.03e9, 15e12, _H100, 1.46e6, 8192, _CARD_31, "2024-07", "llama:3.1-8b",
           outlier=True, note=_SMALL),
    _dense("Llama 3.1 70B", 70.55e9, 15e12, _H100, 7.0e6, 8192, _CARD_31, "2024-07",
           "llama:3.1-70b", outlier=True, note=_SMALL),
    _dense("Llama 3.1 405B", 405.85e9, 15e12, _H100, 30.84e6, 8192, _CARD_31, "2024-07",
           "llama:3.1-405b", note=_FEWER),
    _dense("BLOOM 176B", 176.25e9, 366e9, _A100, 1_082_990, 2048,
           "BigScience 2022, BLOOM, section 3.4.1; Luccioni et al. 2022, table 1" + _LISTED,
           "2022-11"),
    Run(name="DeepSeek-V3", params=671e9, active_params=37e9, tokens=14.8e12, chip="h800",
        hours=2.788e6, sequence_length=4096, source="DeepSeek-AI 2024, DeepSeek-V3, table 1; "
        "researchpapers.dev, read 2026-11", date="2024-12",
        note="fp8, counted against the bfloat16 peak; all three stages"),
    _dense("TinyLlama 1.1B", 1.1e9, 3e12, _A40, 34_560, 2048,
           "16 chips for 90 days: its README (vuink.com's copy, read 2026-11)", "2023-09",
           note="the plan; what it took in the end is not published"),
    _dense("Pythia 1.0B", 1.01e9, 300e9, _A40, 4_830, 2048, _PYTHIA, "2023-04", note=_SPED),
)

# Dense models of a billion parameters and more, and one mixture, whose hours could be looked up. No
# constant is fitted to them but mfu.tpu, in part, to PaLM; none was left out for its result.
HELD_OUT: tuple[Run, ...] = (
    _dense("Pythia 1.4B", 1.415e9, 300e9, _A40, 7_120, 2048, _PYTHIA, "2023-04", note=_SPED),
    _dense("Pythia 2.8B", 2.775e9, 300e9, _A40, 14_240, 2048, _PYTHIA, "2023-04", note=_SPED),
    _dense("Pythia 6.9B", 6.857e9, 300e9, _A40, 33_500, 2048, _PYTHIA, "2023-04", note=_SPED),
    _dense("Pythia 12B", 11.846e9, 300e9, _A40, 72_300, 2048, _PYTHIA, "2023-04", note=_SPED),
    _dense("MPT 7B", 6.7e9, 1e12, _A40, 100_320, 2048,
           "440 chips for 9.5 days: databricks.com/blog/mpt-7b, read 2026-11", "2023-05"),
    _dense("BloombergGPT 50B", 50.6e9, 569e9, _A40, 651_264, 2048,
           "512 chips for 53 days: Wu et al. 2023, table 4" + _LISTED, "2023-03"),
    _dense("StarCoderBase 15.5B", 15.5e9, 1e12, _A100, 320_256, 8192,
           "Li et al. 2023, section 5.7" + _LISTED, "2023-05",
           note="rows of 8192: attention adds a quarter to 6·N·D"),
    _dense("Falcon 180B", 179.5e9, 3.5e12, _A40, 7.0e6, 2048,
           "huggingface.co/blog/falcon-180b, about 7 million hours, read 2026-11", "2023-09"),
    _dense("SmolLM3 3B", 3.075e9, 11.2e12, _H100, 221_184, 4096,
           "384 chips for 24 days: huggingface.co/blog/smollm3" + _LISTED, "2025-07"),
    _dense("Olmo 3 7B", 7.3e9, 5.93e12, _H100, 234_000, 8192,
           "hours: muxup.com and engineered.at; tokens: books-1k9.pages.dev (about 5.9T); read "
           "2026-11", "2025-11"),
    _dense("Olmo 3 32B", 32.2e9, 5.5e12, _H100, 1.05e6, 8192,
           "hours: muxup.com and engineered.at, read 2026-11; tokens from memory", "2025-11"),
    Run(name="JetMoE 8B", params=8.5e9, active_params=2.2e9, tokens=1.25e12, chip=_H100,
        hours=30_000, sequence_length=4096, date="2024-04",
        source="Shen et al. 2024: abstract, chatpaper.com, read 2026-11; 2.2B active: from memory",
        note="a small mixture of experts on 96 chips"),
    _dense("PaLM 540B", 540.35e9, 780e9, "v4", 8_404_992, 2048,
           "6144 chips for 1200 hours and 3072 for 336: Chowdhery et al. 2022, appendix; "
           "blog.heim.xyz, read 2026-11", "2022-04", note="stops and repeated steps are in them"),
)

_NVIDIA = "NVIDIA-NeMo/Megatron-Bridge, docs/performance-summary.md, 25.11, read 2026-11; fp8"
_MAXTEXT = "AI-Hypercomputer/maxtext, docs/reference/models/tiering.md, read 2026-11"
_TABLE = "AI-Hypercomputer/maxtext, README and configs/v5e, read 2026-11"
MEASURED_MFU: tuple[Steps, ...] = (
    Steps(name="PaLM 540B", chip="v4", mfu=0.457, date="2022-04",
          source="Chowdhery et al. 2022, table 3, attention not counted; blog.heim.xyz, read "
          "2026-11"),
    Steps(name="32B", chip="v5e", mfu=0.6686, source=_TABLE, date="2026-11"),
    Steps(name="128B", chip="v5e", mfu=0.5606, source=_TABLE, date="2026-11"),
    Steps(name="Llama 2 70B", chip="v5p", mfu=0.654, source=_MAXTEXT, date="2026-11"),
    Steps(name="Llama 2 70B", chip="v6e", mfu=0.438, source=_MAXTEXT, date="2026-11"),
    Steps(name="Llama 3.1 8B", chip="v6e", mfu=0.4546, source=_MAXTEXT, date="2026-11"),
    Steps(name="Llama 3.1 70B", chip="v6e", mfu=0.5033, source=_MAXTEXT, date="2026-11"),
    Steps(name="Llama 3.1 405B", chip="v6e", mfu=0.3855, source=_MAXTEXT, date="2026-11"),
    Steps(name="Mixtral 8x7B", chip="v6e", mfu=0.3523, source=_MAXTEXT, date="2026-11"),
    Steps(name="Mixtral 8x22B", chip="v6e", mfu=0.362, source=_MAXTEXT, date="2026-11"),
    Steps(name="Mixtral 8x7B", chip="v5p", mfu=0.5256, source=_MAXTEXT, date="2026-11"),
    Steps(name="Llama 3.1 405B", chip=_H100, mfu=0.41, date="2024-07",
          source="Llama Team 2024, table 4: 16,384 chips; 0.38 to 0.43" + _LISTED),
    Steps(name="Llama 3 8B fp8", chip=_H100, mfu=744e12 / 989e12, source=_NVIDIA,
          date="2025-11"),
    Steps(name="Llama 3 8B fp8", chip="b200", mfu=1576e12 / 2250e12, source=_NVIDIA,
          date="2025-11"),
    Steps(name="Llama 3.1 405B fp8", chip=_H100, mfu=737e12 / 989e12, source=_NVIDIA,
          date="2025-11"),
    Steps(name="Llama 3.1 405B fp8", chip="b200", mfu=1667e12 / 2250e12, source=_NVIDIA,
          date="2025-11"),
)

_OLMO_3 = "muxup.com and engineered.at, read 2026-11: the chips alone"
_FULL_LOAD = "; their power at full load times the hours"
POWER: tuple[Power, ...] = (
    Power(name="LLaMA 65B", chip=_A100, hours=1_022_362, kwh=449e3, pue=1.1, measured=False,
          whole_server=False, co2e_kg=173e3, date="2023-02",
          source="Touvron et al. 2023, LLaMA, table 15, from memory" + _FULL_LOAD),
    Power(name="Llama 2, all four", chip=_A100, hours=3_311_616, kwh=3_311_616 * 0.4, pue=1.0,
          measured=False, whole_server=False, co2e_kg=539e3, date="2023-07",
          source="Touvron et al. 2023, table 2; ai-papers.xuzou.cn, read 2026-11" + _FULL_LOAD),
    Power(name="Llama 3, both", chip=_H100, hours=7.7e6, kwh=7.7e6 * 0.7, pue=1.0, measured=False,
          whole_server=False, co2e_kg=2290e3, source=_CARD_3 + _FULL_LOAD, date="2024-04"),
    Power(name="BLOOM 176B", chip=_A100, hours=1_082_990, kwh=433_196, pue=1.0, measured=False,
          whole_server=False, co2e_kg=24.7e3, date="2022-11",
          source="Luccioni et al. 2022; emergentmind.com, read 2026-11" + _FULL_LOAD),
    Power(name="BLOOM 176B, idle power too", chip=_A100, hours=1_082_990,
          kwh=433_196 + 256_646, pue=1.0, measured=True, whole_server=True, co2e_kg=39.3e3,
          date="2022-11", source="Luccioni et al. 2022; emergentmind.com, read 2026-11"),
    Power(name="PaLM 540B", chip="v4", hours=8_404_992, kwh=8_404_992 * 0.3785 * 1.08, pue=1.08,
          measured=True, whole_server=True, date="2022-04",
          source="Chowdhery et al. 2022, appendix: 378.5 W a chip" + _LISTED),
    Power(name="Olmo 3 7B", chip=_H100, hours=234_000, kwh=146e3, pue=1.0, measured=True,
          whole_server=False, source=_OLMO_3, date="2025-11"),
    Power(name="Olmo 3 32B", chip=_H100, hours=1.05e6, kwh=681e3, pue=1.0, measured=True,
          whole_server=False, source=_OLMO_3, date="2025-11"),
)
# fmt: on
