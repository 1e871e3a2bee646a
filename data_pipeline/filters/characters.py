"""Which kind of character each code point is: what words and rules ask of single characters.

What belongs to a prefix, a suffix or a letter follows spaCy's lists for its default tokenizer
(spacy/lang/char_classes.py, MIT licence), since the published filters count spaCy's words; what
counts as a symbol or ends a sentence follows datatrove/utils/text.py (Apache-2.0).
"""

# ruff: noqa: RUF001  (characters that look alike are what this is about)

import functools
import sys
import unicodedata

import numpy as np

# Bits of `classes`: of every character.
SPACE = np.uint8(1)  # str.isspace
LOWER = np.uint8(2)  # a lower-case letter, or one of a script without case
UPPER = np.uint8(4)  # an upper-case letter, or one of a script without case
DIGIT = np.uint8(8)  # 0-9
MARK = np.uint8(16)  # may be split off a word: `marks` says more
ALPHA = np.uint8(32)  # str.isalpha
WORDLIKE = np.uint8(64)  # a word of which no character is that is a symbol, not a word
LETTER = np.uint8(128)  # categories L and M: a letter or what is written on one
CASED = LOWER | UPPER

# Bits of `marks`: of the characters that are MARK.
PREFIX, SUFFIX = np.uint8(1), np.uint8(2)
ANYWHERE = np.uint8(4)  # splits a word wherever it stands in it
QUOTE, PUNCTUATION, HYPHEN = np.uint8(8), np.uint8(16), np.uint8(32)
CURRENCY = np.uint8(64)

_PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\",”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
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


@functools.cache
def classes() -> np.ndarray:
    """uint8 [0x110000]: the bits of every code point."""
    table = np.full(sys.maxunicode + 1, WORDLIKE, np.uint8)
    for code in range(0x32000):  # beyond: private use, and signs that no rule looks at
        character = chr(code)
        if character.isspace():
            table[code] |= SPACE
            continue
        category = unicodedata.category(character)
        if category[0] in "LM":
            table[code] |= LETTER
        if character.isalpha():
            table[code] |= ALPHA
        if category == "So":
            table[code] |= MARK
    for first, last in _CASED:
        for code in range(first, last + 1):
            _set_case(table, code)
    for character in _MORE_CASED:
        _set_case(table, ord(character))
    for first, last in _UNCASED:
        table[first : last + 1] |= CASED
    table[ord("0") : ord("9") + 1] |= DIGIT
    table[list(map(ord, _PUNCTUATION + _QUOTES + _CURRENCIES + "§%=—–+-./|@~\\^"))] |= MARK
    table[list(map(ord, _SYMBOLS + SENTENCE_ENDS))] &= ~WORDLIKE
    for first, last in ((0, 8), (11, 31), (127, 159)):
        table[first : last + 1] &= ~WORDLIKE
    table[(table & SPACE) != 0] = SPACE
    return table


def _set_case(table: np.ndarray, code: int) -> None:
    category = unicodedata.category(chr(code))
    table[code] |= {"Ll": LOWER, "Lu": UPPER, "Lt": UPPER}.get(category, np.uint8(0))


@functools.cache
def marks() -> np.ndarray:
    """uint8 [0x110000]: the bits of every code point that is a mark."""
    table = np.zeros(sys.maxunicode + 1, np.uint8)
    for characters, bits in (
        ("§%=—–+", PREFIX),
        ("—–", SUFFIX),
        (_PUNCTUATION, PREFIX | SUFFIX | PUNCTUATION),
        (_QUOTES, PREFIX | SUFFIX | QUOTE),
        (_CURRENCIES, PREFIX | CURRENCY),
        ("…", ANYWHERE),
        ("-–—~", HYPHEN),
    ):
        table[list(map(ord, characters))] |= bits
    for code in range(0x80, 0x20000):
        if unicodedata.category(chr(code)) == "So":
            table[code] |= PREFIX | SUFFIX | ANYWHERE
    return table


@functools.cache
def sentence_ends() -> np.ndarray:
    """bool [0x110000]: what ends a sentence."""
    table = np.zeros(sys.maxunicode + 1, bool)
    table[list(map(ord, SENTENCE_ENDS))] = True
    return table
