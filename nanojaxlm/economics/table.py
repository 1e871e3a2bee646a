"""The table of all constants: each with its range, unit, source and date; override what you know.

"estimate" in a source: the figure is ours, from experience, and no publication states it. "from
memory": the publication is named but was not read again. "read": when the page was.
"""

from nanojaxlm.economics.chip_prices import GENERATION, chip_rows
from nanojaxlm.economics.constants import Assumptions, Constant

__all__ = ["ASSUMPTIONS", "GENERATION", "ROWS"]


def _row(
    name: str, low: float, value: float, high: float, unit: str, what: str, source: str, date: str
) -> Constant:
    return Constant(
        name=name, low=low, value=value, high=high, unit=unit, what=what, source=source, date=date
    )


# fmt: off
_MFU = (
    _row("mfu.ampere", 0.2, 0.432, 0.55, "fraction",
         "MFU: 6·N·D over the stated hours' dense bfloat16 peak, A100",
         "economics/calibration.py: geometric mean of half of the published runs; the range holds "
         "all of them", "2026-11"),
    _row("mfu.hopper", 0.13, 0.333, 0.45, "fraction",
         "MFU: 6·N·D over the stated hours' dense bfloat16 peak, H100, H200, H800",
         "economics/calibration.py: as mfu.ampere; high: estimate, a step's best less its stops",
         "2026-11"),
    _row("mfu.blackwell", 0.12, 0.32, 0.45, "fraction",
         "MFU: 6·N·D over the stated hours' dense bfloat16 peak, B200",
         "estimate: hopper's, times what B200 keeps of its peak over what H100 does in NVIDIA's "
         "measured steps (economics/runs.py); no run of it has published its hours", "2026-11"),
    _row("mfu.tpu", 0.2, 0.336, 0.6, "fraction",
         "MFU: 6·N·D over the stated hours' dense bfloat16 peak, TPU",
         "estimate: median of measured steps, times what two runs kept of theirs over all hours "
         "(economics/runs.py); PaLM alone published hours", "2026-11"),
    _row("mfu.cpu", 0.1, 0.4, 0.8, "fraction",
         "MFU: 6·N·D over the hours' float32 peak, a CPU's core",
         "estimate: of small models; a run of your own says better", "2026-11"),
    _row("mfu.exact_over_6nd", 1.0, 1.076, 1.3, "ratio",
         "exact FLOPs with attention over 6·N·D",
         "economics/calibration.py: median of the runs whose config is in configs/models",
         "2026-11"),
)

_RUN = (
    _row("failure.chip_hours", 8_000, 50_677, 200_000, "chip-hours",
         "work between two failures",
         "central: Llama 3: 419 unexpected ones in 54 days of 16,384 H100 (datacenterdynamics.com, "
         "read 2026-11); low: 1,024 A100 for 7.9 hours, Kokolis et al. 2024, from memory; "
         "high: estimate", "2024-07"),
    _row("failure.restart_hours", 0.1, 0.25, 1.0, "hours",
         "from a failure to the next step, without the steps lost",
         "estimate: notice, replace the host, load, compile; Llama 3 was effective above 90%",
         "2026-11"),
    _row("checkpoint.seconds", 1, 10, 60, "seconds",
         "a step waits while a checkpoint is taken",
         "estimate: copied to host memory, written in the background; high: written in the "
         "foreground (BLOOM, about 40 s, from memory)", "2026-11"),
)

_ENERGY = (
    _row("electricity.price_per_kwh", 0.06, 0.10, 0.20, "$/kWh", "electricity",
         "estimate between USA's industrial (about 0.08, EIA 2024, read 2026-11) and commercial "
         "price (0.126, kilowattlogic.com, read 2026-11); high: as in much of Europe", "2026"),
    _row("power.pue", 1.08, 1.2, 1.58, "ratio",
         "a data centre's power over its computers' (PUE)",
         "central: OLMo 2, table 19; low: PaLM, both as quoted in a list of runs; high: Uptime "
         "Institute's survey of 2023 (upsite.com); all read 2026-11", "2025"),
    _row("power.server_overhead", 1.1, 1.3, 2.3, "ratio",
         "a whole server's power over that of its chips",
         "estimate: with power.utilisation it gives the 1.1 that GPT-3's servers drew (330 W for "
         "chips of 300, Patterson et al. 2021, as quoted in a list of runs read 2026-11); high: "
         "PaLM, 378.5 W for chips of 170 on average", "2026-11"),
    _row("power.utilisation", 0.7, 0.85, 1.0, "fraction",
         "mean power drawn by a chip over its power at full load",
         "central and low: estimate from measured H100 in Morrison et al. 2025 (85% while it "
         "trains, 15% while it saves) and Olmo 3 (muxup.com: 624 to 649 of 700 W), both read "
         "2026-11; high: what Llama, BLOOM and others count with", "2025"),
    _row("carbon.kg_per_kwh", 0.056, 0.47, 0.713, "kg CO2e/kWh", "carbon of electricity",
         "central: the world of 2024, Ember, Global Electricity Review 2025, from memory; low: "
         "France, high: India, 2023 (ourworldindata.org, read 2026-11)", "2025"),
)

_OWNED = (
    _row("owned.years", 3, 5, 6, "years", "life over which hardware is written off",
         "central: Amazon since 2025; high: Microsoft, Alphabet; low: investors' critics "
         "(wiresift.com, thefactum.ai, read 2026-11)", "2026"),
    _row("owned.residual", 0.0, 0.1, 0.3, "fraction", "price of a used chip over a new one's",
         "estimate", "2026-11"),
    _row("owned.utilisation", 0.4, 0.7, 0.9, "fraction", "owned hours that are put to use",
         "estimate; clusters shared by many run above 0.8 (Kokolis et al. 2024, read 2026-11)",
         "2026-11"),
    _row("owned.maintenance", 0.03, 0.05, 0.10, "fraction/year",
         "of the purchase, for support, spares and repair", "estimate", "2026-11"),
    _row("owned.colocation_per_kw_month", 130, 184, 260, "$/kW-month",
         "space and cooling in a data centre, electricity apart",
         "central: CBRE, North America Data Center Trends H2 2024, 250 to 500 kW, read 2026-11; "
         "low: its 2022 ($138); high: estimate above its world's mean of 2025 ($217)", "2025-02"),
    _row("owned.staff", 0.001, 0.005, 0.03, "full-time people/chip",
         "who keep the hardware running, for each chip",
         "estimate: one person for 200 chips; low: a thousand, high: a few servers", "2026-11"),
    _row("staff.cost_per_year", 130_000, 280_000, 500_000, "$/person-year",
         "a machine-learning engineer, all costs",
         "estimate: median pay in the USA is $190,000 to $230,000 in 2026 (eatsip365.com, "
         "visualfoodie.com, read 2026-11) and a third more for the employer", "2026-11"),
)

_BUILD = (
    _row("build.staff", 3, 6, 20, "full-time people",
         "people who build a model until its launch", "estimate", "2026-11"),
    _row("build.months", 4, 9, 18, "months", "until a model of one's own is in use",
         "estimate; the final run is a part of it", "2026-11"),
    _row("build.experiments", 0.5, 1.5, 4.6, "multiple",
         "experiments' compute over the final run's",
         "low: 50%, OLMo 2 (Morrison et al. 2025); high: 82.2% of all compute, Olmo 3 (newx.sg's "
         "abstract of its study); both read 2026-11; central: estimate, their geometric mean; "
         "OpenAI of 2024: 9 (Epoch AI, read 2026-11)", "2026"),
    _row("build.data_cost", 10_000, 100_000, 2_000_000, "$",
         "licences, labels and curation of the corpus", "estimate", "2026-11"),
    _row("build.refresh", 0.0, 0.5, 2.0, "trainings/year", "trainings anew a year",
         "estimate", "2026-11"),
    _row("build.upkeep_staff", 1.0, 2.0, 5.0, "full-time people",
         "people who look after a model of one's own",
         "estimate", "2026-11"),
)

_TUNE = (
    _row("tune.staff", 1.0, 1.5, 3.0, "full-time people", "people who fine-tune an open model",
         "estimate", "2026-11"),
    _row("tune.months", 1.0, 3.0, 6.0, "months", "until a tuned model is in use",
         "estimate", "2026-11"),
    _row("tune.upkeep_staff", 0.25, 0.75, 2.0, "full-time people",
         "people who look after a tuned model",
         "estimate", "2026-11"),
    _row("tune.tokens", 1e7, 1e8, 1e10, "tokens", "tokens to tune on, all epochs",
         "estimate: from instructions alone to continued pretraining", "2026-11"),
    _row("tune.base_params", 3e9, 8e9, 7e10, "parameters", "size of the open model that is tuned",
         "estimate: the sizes of Llama 3", "2026-11"),
    _row("tune.base_tokens", 2e12, 15e12, 36e12, "tokens", "tokens that the open model read",
         "low: Llama 2, central: Llama 3, high: Qwen 3 (2025); from memory of their reports",
         "2025"),
    _row("tune.experiments", 3, 10, 100, "multiple", "experiments' compute over the final tuning's",
         "10 to 100: Lambert, RLHF book, appendix C (livebook.manning.com, read 2026-11); low: "
         "estimate", "2025"),
    _row("tune.data_cost", 2_000, 20_000, 200_000, "$", "labels and curation of examples",
         "estimate", "2026-11"),
)

_LISTS = (
    "lists of mid-2026 (gitintel.com, calcnestai.com, read 2026-11): low: small models, central: "
    "large ones, high: the frontier's"
)
_API = (
    _row("api.staff", 0.5, 1.0, 2.0, "full-time people", "people who build on an API", "estimate",
         "2026-11"),
    _row("api.months", 0.5, 1.5, 4.0, "months", "until an API is in use", "estimate",
         "2026-11"),
    _row("api.upkeep_staff", 0.1, 0.25, 1.0, "full-time people",
         "people who look after the use of an API", "estimate",
         "2026-11"),
    _row("api.input_price", 0.15, 2.5, 15.0, "$/million tokens",
         "an API's price of tokens read",
         _LISTS, "2026-05"),
    _row("api.output_price", 0.60, 10.0, 75.0, "$/million tokens",
         "an API's price of tokens written",
         _LISTS, "2026-05"),
    _row("api.tuned_factor", 1.0, 1.5, 2.0, "ratio", "a tuned model's price over the plain one's",
         "OpenAI: 1.5 for GPT-4o, 2 for its mini (tokonomics.ca), 1 for later ones (tokenmix.ai), "
         "read 2026-11", "2026"),
)

_USE = (
    _row("use.input_tokens", 300, 1_000, 10_000, "tokens/query", "length of a prompt",
         "estimate; with retrieval: several thousand", "2026-11"),
    _row("use.output_tokens", 50, 300, 1_500, "tokens/query", "length of an answer",
         "estimate; chats of ShareGPT: 190 to 230 (Morrison et al. 2025, read 2026-11)",
         "2026-11"),
    _row("use.growth", 0.0, 0.0, 1.0, "fraction/year", "growth of queries",
         "estimate: none, until you know better", "2026-11"),
)

_SERVING = (
    _row("serving.utilisation", 0.1, 0.3, 0.6, "fraction", "mean load over the peak served",
         "estimate: office hours and weekends", "2026-11"),
    _row("serving.batch", 8, 64, 256, "requests", "requests that are answered together",
         "estimate: continuous batching under load, within the latency of a chat", "2026-11"),
    _row("serving.prefill_mfu", 0.25, 0.4, 0.6, "fraction", "of peak while prompts are read",
         "estimate: as training's forward pass", "2026-11"),
    _row("serving.bandwidth_utilisation", 0.4, 0.6, 0.85, "fraction",
         "memory bandwidth used while answers are written",
         "open-source-ai.tech, a glossary: 0.6 to 0.85, read 2026-11; low: estimate", "2026"),
    _row("serving.min_replicas", 1, 2, 3, "replicas", "least copies of a model in service",
         "estimate: one may fail or be replaced", "2026-11"),
    _row("serving.bytes_per_param", 0.5, 2.0, 2.0, "bytes", "bytes of a parameter in service",
         "bfloat16: 2; 8 bits: 1; 4 bits: 0.5", "2026-11"),
)

_DATA = (
    _row("token.bytes", 3.0, 4.2, 4.8, "bytes/token", "UTF-8 bytes that a token stands for",
         "estimate: English and vocabularies of 32,000 to 128,000; low: code, many languages",
         "2026-11"),
    _row("data.max_epochs", 1, 4, 16, "epochs", "over one corpus before repetition stops paying",
         "Muennighoff et al. 2023: up to 4 are as good as new text, after 16 little is gained "
         "(abstract and hunterheidenreich.com, read 2026-11)", "2023-05"),
    _row("data.compression", 2.5, 3.5, 6.0, "ratio", "bytes of text over those of its gzip or zstd",
         "estimate: plain text about 3 to 4, marked-up and repetitive text more", "2026-11"),
    _row("data.yield", 0.1, 0.3, 0.9, "fraction", "of raw text that curation keeps",
         "estimate; low: web crawls (RefinedWeb kept a tenth, Penedo et al. 2023, from memory); "
         "high: clean private documents", "2026-11"),
)
# fmt: on

ROWS = (
    *chip_rows(), *_MFU, *_RUN, *_ENERGY, *_OWNED, *_BUILD, *_TUNE, *_API, *_USE, *_SERVING, *_DATA
)  # fmt: skip
ASSUMPTIONS = Assumptions({row.name: row for row in ROWS})
