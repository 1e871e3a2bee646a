"""Street addresses and post boxes, by their written form in a dozen languages.

A number before a street in English ("12 Mill Road, Apt. 3"), a kind of street beside its name in
Romance and Slavic languages ("Rue de Rivoli 12", "12, rue de Rivoli", "ul. Prosta 5"), a name that
ends in its kind in Germanic, Finnic and Hungarian ones ("Lindenstraße 5", "Storgatan 5"), post
boxes. The flat, and the town with its postal code in the American form, go with it.
"""

import re

import numpy as np

from data_pipeline.pii.text import UPPER, WORD, Text, class_of, triples_of

_HIGH = "[\xc3-\xd4][\x80-\xbf]"  # the two bytes of a letter of Latin, Greek or Cyrillic
_WORD = rf"(?:[A-Z]|{_HIGH})(?:[A-Za-z'-]|\xe2\x80\x99|{_HIGH}){{0,24}}\.?"
_ENGLISH = """
    Street St Avenue Ave Av Road Rd Boulevard Blvd Lane Ln Drive Dr Court Ct Circle Cir Place Pl
    Square Sq Terrace Terr Parkway Pkwy Highway Hwy Crescent Cres Close Walk Way Trail Trl Alley
    Parade Grove Gardens Row Mews Expressway Turnpike Esplanade Quay Broadway Causeway Wharf Ridge
    Terr Hills Heights Loop Run Pass Path Pike Hill
""".split()  # noqa: SIM905  (a list of 50 lines tells less)
# Words that are streets less often than not: they need a word for a flat or a town to follow.
_DOUBTFUL = frozenset(
    b"Court Close Way Row Run Pass Path Pike Hill Hills Heights Ridge Loop".split()
)
_BEFORE_KIND = (
    "Rue Avenue Av\\. Ave Boulevard Bd Bld Allée Place Chemin Chaussée Quai Impasse Via Viale "
    "Piazza Piazzale Corso Vicolo Strada Largo Contrada Calle C/ Avenida Avda\\.? Paseo Carrera "
    "Camino Ronda Travesía Glorieta Rua Travessa Praça Estrada Alameda Rodovia [Uu]l\\. [Uu]lica "
    "al\\. Aleja rue avenue boulevard allée chemin impasse quai via viale calle rua avenida"
).encode()
_KINDS = "(?:" + "|".join(_BEFORE_KIND.decode("latin-1").split()) + ")"
_SMALL = "(?:d[eou]s?|de la|de las|de los|del|della|delle|dei|di|da|la|las?|les?|los|van|von|y|e)"
_NAME = rf"(?:(?:{_SMALL} |[dl]'){{0,2}}{_WORD}(?:[ -](?:{_SMALL} |[dl]'){{0,2}}{_WORD}){{0,4}})"
_COMPOUND = (
    "straße strasse str\\. str weg gasse platz allee damm ufer steig markt laan straat plein "
    "gracht kade dijk singel dreef steenweg gata gatan götu väg vägen gränd stigen vej vejen gade "
    "gaden allé stræde vænget stien veien vegen gate katu tie kuja polku raitti utca mantee "
    "puiestee tänav tn\\. haven bakken toften lia bakke løkke marken krogen skogen backe torget"
).encode()
_ENDS = [end.replace(b"\\", b"") for end in _COMPOUND.split()]
_HUNGARIAN = ("u.", "út", "tér", "utca", "köz", "sor")


def _bytes(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode("latin-1"))


_NUMBER_FIRST = _bytes(
    rf"\d{{1,6}}[A-Za-z]?(?:-\d{{1,4}})?,? (?:\d{{1,4}} )?(?:(?:[NSEW]{{1,2}}\.? )?"
    rf"(?:(?:{_WORD}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,4}}?({'|'.join(_ENGLISH)})\b\.?(?: [NSEW]{{1,2}}\b)?"
    rf"|(?:bis |ter )?{_KINDS} {_NAME})"
)
_KIND_FIRST = _bytes(
    rf"(?<![A-Za-z\x80-\xff]){_KINDS} (?:{_NAME}|\d{{1,2}} (?:de )?{_WORD}),? (?:n[º°.]* ?)?$"
)
_KIND = _bytes(rf"(?<![A-Za-z\x80-\xff]){_KINDS} ")
_COMPOUND_FIRST = _bytes(
    rf"(?:(?<![A-Za-z\x80-\xff]){_WORD} )?(?<![A-Za-z\x80-\xff])(?:[A-Z]|{_HIGH})(?:[A-Za-z'-]|{_HIGH})*\.?,? $"
)
_BOX = re.compile(
    rb"(?:(?:p\.? ?o\.? ?box|post(?:fach|bus|boks|box|boka)|apartado|casella postale|caixa postal|psc"
    rb"|\bunit|\bpilot) )$"
)
_MILITARY = re.compile(rb"(?:,? Box \d{1,5})?(?:,?\s{1,2}[ADF]PO,? A[AEP],? \d{5})?", re.I)
_STATES = (
    "(?:A[LKZRAEP]|C[AOT]|D[EC]|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|N[EVHJMYCD]|O[HKR]|PA|RI|"
    "S[CD]|T[NX]|UT|V[TAI]|W[AVIY])"
)
_TAIL = _bytes(
    rf"(?:(?:,?\s{{1,3}}(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Floor|Bldg)\.? #?[A-Z]?\d{{1,5}}[A-Z]?\b)"
    rf"{{1,3}})?(?:,?\s{{1,4}}(?:{_WORD} ?){{1,3}},?\s{{1,3}}{_STATES},?\s{{1,3}}\d{{5}}(?:-\d{{4}})?\b)?"
)
_LOWER_TRIPLES = triples_of([b"rue", b"ave", b"bou", b"all", b"che", b"imp", b"qua", b"via", b"cal", b"rua", b"bis", b"ter"])  # fmt: skip
_END_TRIPLES = triples_of([end[-3:] for end in _ENDS])
_BOX_TRIPLES = triples_of([b"box", b"ach", b"bus", b"oks", b"psc", b"nit", b"ado", b"ale", b"tal", b"lot"])  # fmt: skip
_HUNGARIAN_TRIPLES = triples_of([f" {word}".encode()[-3:] for word in _HUNGARIAN])
_CAPITAL = class_of(UPPER + bytes(range(0xC3, 0xD5)))
_BESIDE = WORD | class_of(b".-/$%+:#=&")
_NEAR = 60
_YEAR = re.compile(rb"1[5-9]\d\d$|20\d\d$")


def streets(text: Text) -> list[tuple[int, int]]:
    """Spans of street addresses."""
    runs, codes = text.runs, text.codes
    may = (runs.length <= 6) & ~_BESIDE[codes[runs.start - 1]]
    start, end = runs.start[may], runs.end[may]
    found = _numbers_first(text, start, end)
    short = end - start <= 5
    return found + _names_first(text, start[short], end[short])


def _numbers_first(text: Text, start: np.ndarray, end: np.ndarray) -> list[tuple[int, int]]:
    codes = text.codes
    comma = codes[end] == 44
    space = end + comma
    name = space + 1
    digit = (codes[name] - np.uint8(48)) < 10
    may = (codes[space] == 32) & (
        _CAPITAL[codes[name]]
        | digit
        | np.isin(text.triples(np.minimum(name, len(codes) - 3)), _LOWER_TRIPLES)
    )
    found = []
    for place in start[may].tolist():
        match = _NUMBER_FIRST.match(text.data, place, place + 160)
        if match is None:
            continue
        stop = _with_tail(text, match.end())
        if stop == match.end() and (
            match[1] in _DOUBTFUL or (match[1] and _YEAR.match(match[0].split(b" ", 1)[0]))
        ):
            continue
        found.append((place, stop))
    return found


def _names_first(text: Text, start: np.ndarray, end: np.ndarray) -> list[tuple[int, int]]:
    codes = text.codes
    letter = start - 2 - (codes[start - 2] == 44)
    may = (codes[start - 1] == 32) & (WORD[codes[letter]] | (codes[letter] == 46))
    start, end, letter = start[may], end[may], letter[may]
    triples = text.triples(letter - 2)
    compound = np.isin(triples, _END_TRIPLES)
    hungarian = np.isin(triples, _HUNGARIAN_TRIPLES)
    box = np.isin(triples, _BOX_TRIPLES)
    found = []
    for i, (place, stop) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        begin = place - _NEAR
        window = text.data[begin:place] if begin >= 0 else text.data[:place].rjust(_NEAR, b"\x00")
        if box[i] and _BOX.search(window.lower()):
            match = _BOX.search(window.lower())
            military = _MILITARY.match(text.data, stop)
            if match is not None and military is not None:
                found.append((begin + match.start(), max(stop, military.end())))
            continue
        match = None
        if compound[i] or hungarian[i]:
            match = _COMPOUND_FIRST.search(window) if compound[i] else None
            if match is not None and not _is_compound(match[0]):
                match = None
        if match is None:
            kind = _KIND.search(window)
            match = _KIND_FIRST.search(window, kind.start()) if kind else None
        if match is None or (_YEAR.match(text.data, place, stop) and not compound[i]):
            continue
        if codes[stop] in b"%:/" or (codes[stop] in b".," and 48 <= codes[stop + 1] < 58):
            continue
        house_end = stop + (bool(ALPHA[codes[stop]]) and not WORD[codes[stop + 1]])
        if WORD[codes[house_end]]:
            continue
        found.append((begin + match.start(), _with_tail(text, house_end)))
    return found


ALPHA = class_of(UPPER + UPPER.lower())


def _is_compound(written: bytes) -> bool:
    word = written.rstrip(b", ").rsplit(b" ", 1)[-1]
    return any(word.endswith(end) and len(word) >= len(end) + 3 for end in _ENDS)


def _with_tail(text: Text, end: int) -> int:
    tail = _TAIL.match(text.data, end, end + 120)
    return tail.end() if tail else end
