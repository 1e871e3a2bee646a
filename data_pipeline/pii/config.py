"""What the privacy stage looks for, and what it puts in its place."""

from dataclasses import dataclass

from data_pipeline.pii.national import NUMBERS

# In the order of how special their form is: of two findings of one length the earlier kind counts.
KINDS = (
    "secret",
    "credentials",
    "email",
    "iban",
    "card",
    "national_number",
    "ip",
    "birth_date",
    "phone",
    "street",
    "person",
)
_DEFAULT = tuple(kind for kind in KINDS if kind != "person")


@dataclass(frozen=True, kw_only=True)
class PiiConfig:
    """Args:
    kinds: what to look for, of KINDS. "person" (names of persons) is out by default: prose about
        people loses what it says; it needs the package faker, whose name lists are its gazetteer.
    national_numbers: which, of national.NUMBERS.
    pseudonym_key_file: None puts "<EMAIL>", "<PHONE>", … in the place of what was found. A file
        whose content is a secret key puts invented values of the same form there (replacement.py),
        the same for the same value everywhere, which can neither be someone's nor, without the
        key, be traced back. A file, so that no report or log tells the key.
    public_ips_only: leave private, local and documentation addresses alone.
    max_rate: drop a document with more replacements per 1000 bytes than this, as too_much_pii;
        None = none is dropped.
    min_replacements: so many at least before max_rate counts; a short note with an address stays.
    """

    kinds: tuple[str, ...] = _DEFAULT
    national_numbers: tuple[str, ...] = tuple(NUMBERS)
    pseudonym_key_file: str | None = None
    public_ips_only: bool = True
    max_rate: float | None = None
    min_replacements: int = 5

    def __post_init__(self):
        for name, known in (("kinds", KINDS), ("national_numbers", tuple(NUMBERS))):
            chosen = getattr(self, name)
            unknown = [word for word in chosen if word not in known]
            if unknown or len(set(chosen)) < len(chosen):
                raise ValueError(
                    f"{name} names each once, of {', '.join(known)}; got {', '.join(chosen)}"
                )
        if not self.kinds:
            raise ValueError("kinds is empty: name some, or leave the stage out")
        if self.pseudonym_key_file == "":
            raise ValueError("pseudonym_key_file: the path of a file with a secret key, or None")
        if self.max_rate is not None and self.max_rate <= 0:
            raise ValueError(f"max_rate must be > 0 or None, got {self.max_rate}")
        if self.min_replacements < 1:
            raise ValueError(f"min_replacements must be >= 1, got {self.min_replacements}")
