"""What a chip costs to hire, to buy and to run: the rows of the table that each chip has."""

from dataclasses import dataclass

from nanojaxlm.accelerators import CHIPS, CPU, Chip
from nanojaxlm.economics.constants import Constant
from nanojaxlm.economics.ranges import Range

# Of each chip: one MFU is fitted to each.
GENERATION: dict[str, str] = {
    "v4": "tpu",
    "v5e": "tpu",
    "v5p": "tpu",
    "v6e": "tpu",
    "a100-40gb": "ampere",
    "a100-80gb": "ampere",
    "h100": "hopper",
    "h200": "hopper",
    "h800": "hopper",
    "b200": "blackwell",
    "cpu": "cpu",
}


@dataclass(frozen=True, kw_only=True)
class Market:
    """sheet: the date of the maker's figures. capital: None where the chip is not for sale."""

    price_per_hour: Range
    price_source: str
    price_date: str
    watts: Range
    watts_source: str
    sheet: str
    capital: Range | None = None
    capital_source: str = ""
    capital_date: str = ""


_LIST = (
    "central: Google Cloud's list price on demand in the USA; low: with its 3-year commitment; "
    "both from memory of cloud.google.com/tpu/pricing; high: estimate, 30% more, as in dearer "
    "regions"
)
_NO_WATTS = "estimate: Google publishes no figure; of the order of v4's 192 W, scaled by its peak"
_TDP = "NVIDIA's {} SXM data sheet: the most that the board draws; low: power caps in use"
_SHARE = (
    "; with a share of server and network, a quarter to a third of the whole (Cottier et al. 2024, "
    "abstract, read 2026-11)"
)

MARKET: dict[str, Market] = {
    "v4": Market(
        price_per_hour=Range(1.45, 3.22, 4.19),
        price_source=_LIST,
        price_date="2025",
        watts=Range(170, 192, 200),
        watts_source="Jouppi et al. 2023, TPU v4, table 6: 170 W mean, 192 W most; from memory",
        sheet="2026-11",
    ),
    "v5e": Market(
        price_per_hour=Range(0.54, 1.20, 1.56),
        price_source=_LIST,
        price_date="2025",
        watts=Range(120, 200, 250),
        watts_source=_NO_WATTS,
        sheet="2026-11",
    ),
    "v5p": Market(
        price_per_hour=Range(1.89, 4.20, 5.46),
        price_source=_LIST,
        price_date="2025",
        watts=Range(300, 450, 550),
        watts_source=_NO_WATTS,
        sheet="2026-11",
    ),
    "v6e": Market(
        price_per_hour=Range(1.22, 2.70, 3.51),
        price_source=_LIST,
        price_date="2025",
        watts=Range(200, 300, 400),
        watts_source=_NO_WATTS,
        sheet="2026-11",
    ),
    "a100-40gb": Market(
        price_per_hour=Range(0.80, 1.30, 3.67),
        price_source="estimate: a fifth under the 80 GB card's; high: Google Cloud's list price of "
        "a2-highgpu, from memory",
        price_date="2026-11",
        watts=Range(350, 400, 400),
        watts_source=_TDP.format("A100"),
        sheet="2021",
        capital=Range(6_000, 10_000, 18_000),
        capital_source="estimate: used cards; new ones are no longer made" + _SHARE,
        capital_date="2026-11",
    ),
    "a100-80gb": Market(
        price_per_hour=Range(0.86, 1.79, 4.10),
        price_source="central: within the $1.49 to $2.49 of pricegpu.pages.dev; low: the least of "
        "aiapiplaybook.com (spot), both read 2026-11; high: estimate for the largest clouds",
        price_date="2026",
        watts=Range(350, 400, 400),
        watts_source=_TDP.format("A100") + " (Llama 2: 350 W on half of its cluster)",
        sheet="2021",
        capital=Range(10_000, 16_000, 25_000),
        capital_source="estimate: DGX A100 was about $200,000 new for 8 chips" + _SHARE,
        capital_date="2026-11",
    ),
    "h100": Market(
        price_per_hour=Range(1.49, 2.69, 6.98),
        price_source="central: RunPod's SXM5 as in spheron.network, May 2026; low: the least of "
        "aiapiplaybook.com, January 2026; high: Azure's list price, AWS's being near it since its "
        "cut of up to 45% in June 2025 (usage.ai); all read 2026-11",
        price_date="2026-05",
        watts=Range(600, 700, 700),
        watts_source=_TDP.format("H100"),
        sheet="2023",
        capital=Range(30_000, 40_000, 55_000),
        capital_source="a card is $25,000 to $40,000 (host360.ai, 2026, read 2026-11)" + _SHARE,
        capital_date="2026",
    ),
    "h200": Market(
        price_per_hour=Range(2.25, 3.59, 8.00),
        price_source="central: RunPod's as in deploybase.ai; low: packet.ai on demand; high: the "
        "least of AWS in packet.ai; all read 2026-11",
        price_date="2026",
        watts=Range(600, 700, 700),
        watts_source=_TDP.format("H200"),
        sheet="2024",
        capital=Range(36_000, 46_000, 60_000),
        capital_source="a card is about $35,000 (aiinframap.com, 2026, read 2026-11)" + _SHARE,
        capital_date="2026",
    ),
    "h800": Market(
        price_per_hour=Range(1.49, 2.00, 3.00),
        price_source="central: what DeepSeek-AI 2024, DeepSeek-V3, table 1 assumes; low: as h100; "
        "high: estimate",
        price_date="2024-12",
        watts=Range(600, 700, 700),
        watts_source=_TDP.format("H100") + "; the H800 differs in its links",
        sheet="2023",
        capital=Range(30_000, 40_000, 60_000),
        capital_source="estimate: as h100; sold in China only",
        capital_date="2026-11",
    ),
    "b200": Market(
        price_per_hour=Range(3.75, 5.50, 14.24),
        price_source="central: $4.50 to $6.00 on demand (lyceum.technology, March 2026); low: "
        "packet.ai; high: AWS in packet.ai, June 2026; all read 2026-11",
        price_date="2026-06",
        watts=Range(850, 1000, 1000),
        watts_source=_TDP.format("B200"),
        sheet="2024",
        capital=Range(48_000, 60_000, 80_000),
        capital_source="a card is about $40,000 (aiinframap.com, 2026, read 2026-11)" + _SHARE,
        capital_date="2026",
    ),
    "cpu": Market(  # of one core of a server
        price_per_hour=Range(0.02, 0.09, 0.15),
        price_source="estimate: two threads of a large cloud's general machines, about $0.045 each",
        price_date="2026-11",
        watts=Range(2, 6, 12),
        watts_source="estimate: 350 W for 64 cores",
        sheet="2026-11",
    ),
}


def chip_rows() -> tuple[Constant, ...]:
    """Of all chips and a CPU: what accelerators.py states, and what the market does."""
    chips = CHIPS | {CPU.name: CPU}
    return tuple(row for key, chip in chips.items() for row in _rows(key, chip, MARKET[key]))


def _rows(key: str, chip: Chip, market: Market) -> list[Constant]:
    def row(field: str, given: Range, unit: str, what: str, source: str, date: str) -> Constant:
        return Constant(
            name=f"{key}.{field}", low=given.low, value=given.central, high=given.high,
            unit=unit, what=f"{what} of {key}", source=source, date=date,
        )  # fmt: skip

    physical = (
        ("flops_per_second", chip.flops_per_second, "FLOP/s", "dense bfloat16 peak"),
        ("memory_bytes", chip.memory_bytes, "bytes", "memory"),
        ("memory_bytes_per_second", chip.memory_bytes_per_second, "bytes/s", "memory bandwidth"),
    )
    rows = [
        row(field, Range.exact(float(value)), unit, what, chip.source, market.sheet)
        for field, value, unit, what in physical
    ]
    m = market
    rows.append(row("watts", m.watts, "W", "power at full load", m.watts_source, m.sheet))
    rows.append(
        row("price_per_hour", m.price_per_hour, "$/chip-hour", "rent", m.price_source, m.price_date)
    )
    if m.capital is not None:
        what = "purchase, with its share of server and network,"
        rows.append(row("capital", m.capital, "$/chip", what, m.capital_source, m.capital_date))
    return rows
