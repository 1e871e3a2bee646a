"""Which kind of character each code point is: what words and rules ask of single characters.

What belongs to a prefix, a suffix or a letter follows spaCy's lists for its default tokenizer
(spacy/lang/char_classes.py, MIT licence), since the published filters count spaCy's words; what
counts as a symbol or ends a sentence follows datatrove/utils/text.py (Apache-2.0).
"""

# ruff: noqa: RUF001  (characters that look alike are what this is about)

import sys
import unicodedata
from collections.abc import Callable

import numpy as np

# Bits of CLASSES: of every character.
SPACE = np.uint8(1)  # str.isspace
LOWER = np.uint8(2)  # a lower-case letter, or one of a script without case
UPPER = np.uint8(4)  # an upper-case letter, or one of a script without case
DIGIT = np.uint8(8)  # 0-9
MARK = np.uint8(16)  # may be split off a word: MARKS says more
ALPHA = np.uint8(32)  # str.isalpha
WORDLIKE = np.uint8(64)  # a word of which no character is that is a symbol, not a word
LETTER = np.uint8(128)  # categories L and M: a letter or what is written on one
CASED = LOWER | UPPER

# Bits of MARKS: of the characters that are MARK.
PREFIX, SUFFIX = np.uint8(1), np.uint8(2)
ANYWHERE = np.uint8(4)  # splits a word wherever it stands in it
QUOTE, PUNCTUATION, HYPHEN = np.uint8(8), np.uint8(16), np.uint8(32)
CURRENCY = np.uint8(64)

_PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\",”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧"
_CURRENCIES = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
_UNCASED = (  # Ethiopic, Bengali, Hebrew, Persian, Sinhala, Devanagari, …, Kana, Han
    (0x1200, 0x137F), (0x0980, 0x09FF), (0x0591, 0x05F4), (0xFB1D, 0xFB4F), (0x0620, 0x064A),
    (0x066E, 0x06D5), (0x06E5, 0x06FF), (0x0750, 0x077F), (0x08A0, 0x08BD), (0xFB50, 0xFBB1),
    (0xFBD3, 0xFD3D), (0xFD50, 0xFDC7), (0xFDF0, 0xFDFB), (0xFE70, 0xFEFC), (0x0D80, 0x0DFF),
    (0x0900, 0x097F), (0x0C80, 0x0CFF), (0x0B80, 0x0BFF), (0x0C00, 0x0C7F), (0xAC00, 0xD7AF),
    (0x1100, 0x11FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2EBEF),
    (0x2E80, 0x2FFF), (0x3000, 0x303F), (0x31C0, 0x31EF), (0x3200, 0x33FF), (0xF900, 0xFAFF),
    (0xFE30, 0xFE4F), (0x1F200, 0x1F2FF), (0x2F800, 0x2FA1F), (0x1EE00, 0x1EEBB),
)  # fmt: skip
_CASED = (  # Latin in its blocks, and the letters of Greek and Cyrillic that spaCy lists
    (0x0041, 0x005A), (0x0061, 0x007A), (0x00C0, 0x024F), (0x0250, 0x02AF), (0x1D00, 0x1D9A),
    (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA722, 0xA7FA), (0xAB30, 0xAB64), (0xFF21, 0xFF3A),
    (0xFF41, 0xFF5A), (0x0410, 0x044F), (0x0391, 0x03A9), (0x03B1, 0x03C9),
)  # fmt: skip
_MORE_CASED = "ёЁәөүҗңһӘӨҮҖҢҺάέίόώήύΆΈΊΌΏΉΎіїєґІЇЄҐѓѕјљњќѐѝЃЅЈЉЊЌЀЍ"
# What datatrove counts as a symbol, beside what ends a sentence (PUNCTUATION there).
_SYMBOLS = (
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
)
# What ends a sentence, in any script (TERMINAL_PUNCTUATION there).
SENTENCE_ENDS = (
    "!.?։؟۔؝؞܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫"
    "﹒﹖﹗！．？｡𐩖𐩗𐽕𐽖𐽗𐽘𐽙𐾆𐾇𐾈𐾉𑁇𑁈𑂾𑂿𑃀𑃁𑅁𑅂𑅃𑇅𑇆𑇍𑇞𑇟𑈸𑈹𑈻𑈼𑊩𑑋𑑌𑗂𑗃𑗉𑗊𑗋𑗌𑗍𑗎𑗏𑗐𑗑𑗒𑗓𑗔𑗕𑗖𑗗"
    "𑙁𑙂𑜼𑜽𑜾𑥄𑥆𑩂𑩃𑪛𑪜𑱁𑱂𑻷𑻸𑽃𑽄𖩮𖩯𖫵𖬷𖬸𖭄𖺘𛲟𝪈"
)


_PAGE = 256


class CodePoints:
    """uint8 of every code point, computed by pages of 256 as texts come to need them."""

    def __init__(self, compute: Callable[[np.ndarray, list[str]], np.ndarray]):
        """compute: int [256] code points and the characters -> uint8 [256]."""
        self._compute = compute
        self._values = np.zeros(sys.maxunicode + 1, np.uint8)
        self._known = np.zeros((sys.maxunicode + 1) // _PAGE, bool)

    def of(self, codes: np.ndarray) -> np.ndarray:
        """uint8, of each code point."""
        asked = np.zeros(len(self._known), bool)
        asked[codes // _PAGE] = True
        for page in np.flatnonzero(asked & ~self._known).tolist():
            inside = np.arange(page * _PAGE, (page + 1) * _PAGE)
            self._values[inside] = self._compute(inside, list(map(chr, inside.tolist())))
            self._known[page] = True
        return self._values[codes]


def _bits(texts: list[str], holds: Callable[[str], bool], bit: np.uint8 | int) -> np.ndarray:
    return np.array([holds(character) for character in texts], bool) * np.uint8(bit)


def _within(codes: np.ndarray, ranges: tuple[tuple[int, int], ...]) -> np.ndarray:
    inside = np.zeros(len(codes), bool)
    for first, last in ranges:
        inside |= (codes >= first) & (codes <= last)
    return inside


def _classes(codes: np.ndarray, texts: list[str]) -> np.ndarray:
    categories = [unicodedata.category(character) for character in texts]
    bits = _bits(categories, lambda category: category[0] in "LM", LETTER)
    bits |= _bits(texts, str.isalpha, ALPHA)
    bits |= _bits(categories, "So".__eq__, MARK) | _bits(texts, _MARKS.__contains__, MARK)
    bits |= _bits(texts, lambda character: character not in _NOT_WORDLIKE, WORDLIKE)
    bits[_within(codes, ((0, 8), (11, 31), (127, 159)))] &= ~WORDLIKE
    cased = _within(codes, _CASED) | _bits(texts, _MORE_CASED.__contains__, 1).astype(bool)
    bits |= _bits(categories, "Ll".__eq__, LOWER) * cased
    bits |= _bits(categories, lambda category: category in ("Lu", "Lt"), UPPER) * cased
    bits |= _within(codes, _UNCASED) * CASED
    bits |= _within(codes, ((ord("0"), ord("9")),)) * DIGIT
    bits[[character.isspace() for character in texts]] = SPACE
    return bits


def _mark_bits(codes: np.ndarray, texts: list[str]) -> np.ndarray:
    bits = np.zeros(len(codes), np.uint8)
    for characters, bit in (
        ("§%=—–+", PREFIX),
        ("—–", SUFFIX),
        (_PUNCTUATION, PREFIX | SUFFIX | PUNCTUATION),
        (_QUOTES, PREFIX | SUFFIX | QUOTE),
        (_CURRENCIES, PREFIX | CURRENCY),
        ("…", ANYWHERE),
        ("-–—~", HYPHEN),
    ):
        bits |= _bits(texts, characters.__contains__, bit)
    return bits | _bits(texts, _is_icon, PREFIX | SUFFIX | ANYWHERE)


def _is_icon(character: str) -> bool:
    return unicodedata.category(character) == "So"


_MARKS = frozenset(_PUNCTUATION + _QUOTES + _CURRENCIES + "§%=—–+-./|@~\\^")
_NOT_WORDLIKE = frozenset(_SYMBOLS + SENTENCE_ENDS)
CLASSES = CodePoints(_classes)
MARKS = CodePoints(_mark_bits)
ENDS = CodePoints(lambda _, texts: _bits(texts, frozenset(SENTENCE_ENDS).__contains__, 1))
DIGITS = CodePoints(lambda _, texts: _bits(texts, str.isdigit, 1))
# Unicode's category P: what does not begin a sentence.
NO_BEGINNINGS = CodePoints(
    lambda _, texts: _bits(texts, lambda c: unicodedata.category(c)[0] == "P", 1)
)
