"""Street addresses and post boxes, by their written form in a dozen languages.

A number before a street in English ("12 Mill Road, Apt. 3"), a kind of street beside its name in
Romance and Slavic languages ("Rue de Rivoli 12", "12, rue de Rivoli", "ul. Prosta 5"), a name that
ends in its kind in Germanic, Finnic and Hungarian ones ("Lindenstraße 5", "Storgatan 5"), post
boxes, and a name and a number before a flat ("Brisas 6802, Apt. 4") or after words such as "lives
at". The flat, the town and its postal code that follow go with it.
"""

import re

import numpy as np

from data_pipeline.pii.text import ALNUM, BOUND, DIGITS, UPPER, WORD, Text, class_of, triples_of


def _bytes(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode("latin-1"))


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_ENGLISH = _words(
    """
    Street St Avenue Ave Road Rd Boulevard Blvd Lane Ln Drive Dr Court Ct Circle Cir Place Pl
    Square Sq Terrace Terr Parkway Pkwy Highway Hwy Crescent Cres Close Walk Way Trail Trl Alley
    Parade Grove Gardens Row Mews Expressway Turnpike Esplanade Quay Broadway Causeway Wharf Ridge
    Hills Heights Loop Run Pass Path Pike Hill
    """
)
# Streets less often than not: a flat or a town must follow.
_DOUBTFUL = _words("Court Close Way Row Run Pass Path Pike Hill Hills Heights Ridge Loop Square")
_KINDS = _words(
    """
    Rue Avenue Av. Av Ave Boulevard Bd Bld Allée Place Chemin Chaussée Quai Impasse Via Viale Piazza
    Piazzale Corso Vicolo Strada Largo Contrada Calle C/ Avenida Avda. Avda Paseo Carrera Camino
    Ronda Travesía Glorieta Rua Travessa Praça Estrada Alameda Rodovia ul. Ul. ulica Ulica al.
    Aleja rue avenue boulevard allée chemin impasse quai viale calle rua avenida
    """
)
_COMPOUND = tuple(
    _words(
        """
        straße strasse str. str weg gasse platz allee damm ufer steig markt laan straat plein gracht
        kade dijk singel dreef steenweg gata gatan götu stræti väg vägen gränd stigen vej vejen gade
        gaden allé stræde vænget stien veien vegen gate katu tie kuja polku raitti utca mantee
        puiestee tänav tn. haven bakken toften lia bakke løkke marken krogen skogen backe torget
        """
    )
)
_HUNGARIAN = _words("u. út tér utca köz sor u utja")  # a word of its own after the name
_SMALL = _words(
    "de du des do dos da das d la las les los del della delle dei di van von der den y e le"
)
# An address follows, whatever its street is called.
_LEADS = (
    *(b"address", b"address:", b"addresses:", b"adresse", b"adresse:", b"indirizzo:", b"adres:"),
    *(b"address is", b"address is:", b"address to", b"address of", b"lives at", b"lives on"),
    *(b"live at", b"live on", b"living at", b"resides at", b"residing at", b"located at"),
    *(b"located on", b"off at", b"office is at", b"office is on", b"station is at"),
    b"station is on",
)

_HIGH = "[\xc3-\xd4][\x80-\xbf]"  # the two bytes of a letter of Latin, Greek or Cyrillic
# Atomic, as all that is repeated here: there is one way to read a text, so no slow one.
_NAME = rf"(?>(?:[A-Z]|{_HIGH})(?:[A-Za-z']|{_HIGH}|\xe2\x80\x99){{0,24}}+)"
_LINKS = (
    r"(?:(?:d[eou]s?|de la|de las|de los|del|della|delle|dei|di|da|la|las|les|los|van|von) |[dl]')"
)
_KIND = "(?:" + "|".join(re.escape(kind.decode("latin-1")) for kind in sorted(_KINDS)) + ")"
_NUMBER_THEN_KIND = _bytes(
    rf"\d{{1,6}}[A-Za-z]?,? (?:\d{{1,4}} )?(?:bis |ter )?{_KIND} {_LINKS}{{0,2}}{_NAME}"
    rf"(?:[ -]{_LINKS}{{0,2}}{_NAME}){{0,3}}"
)
_UNIT = r"(?>,?\s{1,4}(?:Apt|Apartment|Suite|Ste|Flat|Room|Floor|Bldg)\.? #?[A-Z]?\d{1,5}[A-Z]?\b)"
_FLAT = _bytes(_UNIT)
_TOWN = rf"(?>[,\s>?]{{1,6}}{_NAME}(?:[ -]{_NAME}){{0,3}})"
_TAIL = _bytes(
    rf"{_UNIT}{{0,3}}+(?:{_TOWN}{{1,3}}[,\s>?]{{1,6}}(?!(?:1[5-9]|20)\d\d\b)\d{{4,6}}(?:-\d{{4}})?\b)?"
)
_BOX = re.compile(
    rb"(?:(?:p\.? ?o\.? ?box|post(?:fach|bus|boks|box)|apartado|casella postale|caixa postal"
    rb"|\bapt\.?|\bsuite|\bunit|psc) )$"
)
_FORCES = tuple(b"%cPO A%c " % (post, area) for post in b"ADF" for area in b"AEP")
_MILITARY = re.compile(rb"(?:,? Box \d{1,5})?(?:,?\s{1,2}[ADF]PO,? A[AEP],? \d{5})?", re.I)
_LOWER_TRIPLES = triples_of(
    [b"rue", b"ave", b"bou", b"all", b"che", b"imp", b"qua", b"cal", b"rua", b"bis", b"ter"]
)
_BOX_TRIPLES = triples_of(
    [b"box", b"ach", b"bus", b"oks", b"ado", b"ale", b"tal", b"apt", b"pt.", b"ite", b"psc", b"nit"]
)
_END_TRIPLES = triples_of(
    [f"  {word.decode()}".encode()[-3:] for word in (*_COMPOUND, *_HUNGARIAN)]
)
_NOBODYS = b"Example Street"  # where pseudonyms live
_YEAR = re.compile(rb"(?:1[5-9]|20)\d\d$")
_RECENT = re.compile(rb"(?:19\d\d|20[0-3]\d)$")
_CAPITAL = class_of(UPPER + bytes(range(0xC3, 0xD5)))
_LETTER = (ALNUM & ~class_of(DIGITS)) | class_of(bytes(range(0x80, 256)))
_BESIDE = WORD | class_of(b".-/$%+:#=&")
_ENDS = b".,;:!?)\"'"
_ODD = re.compile(rb"[!-,/-@\[-`{-~]")  # of ASCII, what a name has not
_END = re.compile(rb"[\x00\n]")
_NEAR = 64


def streets(text: Text) -> list[tuple[int, int]]:
    """Spans of street addresses."""
    runs, codes = text.runs, text.codes
    may = (runs.length <= 6) & ~_BESIDE[codes[runs.start - 1]]
    start, end = runs.start[may], runs.end[may]
    found = _numbers_first(text, start, end) + _names_first(text, start, end)
    return [span for span in found if _NOBODYS not in text.data[slice(*span)]]


def _numbers_first(text: Text, start: np.ndarray, end: np.ndarray) -> list[tuple[int, int]]:
    codes, data = text.codes, text.data
    lettered = _LETTER[codes[end]]  # 12b Mill Road
    space = end + lettered + (codes[end + lettered] == 44)
    spaced = codes[space] == 32
    start, name = start[spaced], np.minimum(space[spaced] + 1, len(codes) - 4)
    # 5th Avenue
    digit = ((codes[name] - np.uint8(48)) < 10) & (
        _LETTER[codes[name + 1]] | _LETTER[codes[name + 2]]
    )
    may = _CAPITAL[codes[name]] | digit | np.isin(text.triples(name), _LOWER_TRIPLES)
    found = []
    for place, first in zip(start[may].tolist(), name[may].tolist(), strict=True):
        words = _END.split(data[first : first + 96], 1)[0].split(b" ", 6)
        stop = _english(words, first)
        doubtful = False
        if stop:
            last = data[first:stop].rsplit(b" ", 1)[-1]
            doubtful = last in _DOUBTFUL or bool(_RECENT.match(data[place : first - 1]))
        elif not _KINDS.isdisjoint(words[:3]):
            match = _NUMBER_THEN_KIND.match(data, place, place + 120)
            stop = match.end() if match else 0
        if not stop:
            continue
        whole = _with_tail(text, stop)
        if whole > stop or not doubtful:
            found.append((place, whole))
    return found


def _english(words: list[bytes], first: int) -> int:
    """Where the kind of street ends, that follows one to four capitalised words; 0 = none does."""
    end = first
    for i, word in enumerate(words[:6]):
        bare = word.rstrip(_ENDS)
        if i and bare in _ENGLISH:
            return end + len(bare)
        if not word or not (_CAPITAL[word[0]] or 48 <= word[0] < 58):
            return 0
        # a sentence's end, but for St. and N.
        if bare != word and (len(bare) > 3 or word[len(bare) :] != b"."):
            cut = re.match(rb"[A-Za-z]+(?![\x80-\xff])", word)
            return end + cut.end() if i and cut and cut[0] in _ENGLISH else 0
        end += len(word) + 1
    return 0


def _names_first(text: Text, start: np.ndarray, end: np.ndarray) -> list[tuple[int, int]]:
    codes, data = text.codes, text.data
    spaced = codes[start - 1] == 32
    start, end = start[spaced], end[spaced]
    last = start - 2 - (codes[start - 2] == 44)
    may = _LETTER[codes[last]] | (codes[last] == 46)
    may &= (end - start <= 5) & ~((codes[end] == 46) & ((codes[end + 1] - np.uint8(48)) < 10))
    start, end = start[may], end[may]
    triples = text.triples(last[may] - 2)
    boxes = np.isin(triples, _BOX_TRIPLES).tolist()
    endings = np.isin(triples, _END_TRIPLES).tolist()
    found = []
    rows = zip(start.tolist(), end.tolist(), boxes, endings, strict=True)
    for place, stop, boxed, ending in rows:
        begin = max(0, place - _NEAR)
        if not (boxed or ending):
            word = max(data.rfind(b" ", begin, place - 2), data.rfind(b"\n", begin, place - 2)) + 1
            if 97 <= data[word] <= 122:
                continue
        begin += data[begin:place].rfind(BOUND) + 1
        window = data[begin:place]
        if stop - place == 5 and window.upper().endswith(_FORCES):
            found.append((place - 7, stop))
            continue
        if boxed:
            box = _BOX.search(window.lower())
            if box is not None and (not box[0].startswith(b"suite") or stop - place >= 3):
                military = _MILITARY.match(data, stop)
                found.append(
                    (begin + box.start(), _with_tail(text, military.end() if military else stop))
                )
                continue
        if WORD[codes[stop]]:
            if not _LETTER[codes[stop]] or WORD[codes[stop + 1]]:
                continue
            stop += 1
        span = _before_house(window, data, place, stop)
        if span is not None:
            found.append((begin + span, _with_tail(text, stop)))
    return found


def _before_house(window: bytes, data: bytes, place: int, stop: int) -> int | None:
    """Where an address begins in `window`, which ends before the house number; None = nowhere."""
    words = window[:-1].rsplit(b" ", 7)
    if len(words) > 7:
        words = words[1:]
    last = words[-1].rstrip(b",").rsplit(b"\n", 1)[-1]
    if (last.endswith(_COMPOUND) and len(last) >= 6 and not _ODD.search(last)) or (
        last in _HUNGARIAN and len(words) > 1
    ):
        return _name_start(window, words)
    if _YEAR.match(data, place, stop):
        return None
    for i in range(len(words) - 1, -1, -1):
        word = words[i].rsplit(b"\n", 1)[-1]
        if word in _KINDS and i < len(words) - 1:
            start = len(window) - len(b" ".join((word, *words[i + 1 :], b"")))
            number = words[i - 1] if i and word == words[i] else b""
            return start - len(number) - 1 if number.isdigit() else start
        if word != words[i] or not word or not (_CAPITAL[word[0]] or word in _SMALL):
            break
        if word[-1] == 46 and len(word) > 4:  # the end of a sentence
            break
    if data[stop] in b",\n " and _FLAT.match(data, stop):
        return _name_start(window, words)
    start = _name_start(window, words)
    if start is not None and window[:start].rstrip(b" \n").lower().endswith(_LEADS):
        return start
    return None


def _name_start(window: bytes, words: list[bytes]) -> int | None:
    """Where the name of one to four words, with a number before it perhaps, at the end begins."""
    length, named = len(window), False
    for count, word in enumerate(reversed(words)):
        line = word.rsplit(b"\n", 1)[-1]
        if line.isdigit() and named:
            return length - len(line) - 1
        bare = line.rstrip(b",") if not count else line
        capital = bare and (_CAPITAL[bare[0]] or bare.endswith(_COMPOUND) or bare in _HUNGARIAN)
        if not capital or count == 4 or bare[-1] in b",;:!?":
            break
        length -= len(line) + 1
        named = named or bare not in _HUNGARIAN
        if line != word:
            break
    return max(length, 0) if named else None


def _with_tail(text: Text, end: int) -> int:
    tail = _TAIL.match(text.data, end, end + 140)
    return tail.end() if tail else end
