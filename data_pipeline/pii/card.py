"""Payment cards: 12 to 19 digits with an issuer's prefix and length and Luhn's check digit."""

import re

from data_pipeline.pii.checksums import luhn
from data_pipeline.pii.text import WORD, Text, class_of

# Prefixes and lengths as the issuers publish them, without those that many other numbers have too
# (Maestro's 12 to 19 digits, Visa's 13 and 19): of other prefixes a word about cards must be near.
_SURE = re.compile(
    rb"""(?x) 4\d{15}$                                                  # Visa
    | (?:5[1-5]\d\d | 222[1-9] | 22[3-9]\d | 2[3-6]\d\d | 27[01]\d | 2720)\d{12}$  # Mastercard
    | 3[47]\d{13}$                                                      # American Express
    | (?:6011 | 64[4-9]\d | 65\d\d)\d{12}$                              # Discover, RuPay
    | 62\d{14}$                                                         # UnionPay
    | (?:30[0-5]\d | 3095 | 36\d\d | 3[89]\d\d)\d{10}$                  # Diners Club
    | 35(?:2[89] | [3-8]\d)\d{12}$                                      # JCB
    | (?:2131 | 1800)\d{11}$                                            # JCB of old
    | 220[0-4]\d{12}$                                                   # Mir
    """
)
_WRITTEN = re.compile(
    rb"\d{12,19}|\d{4}(?:[ -]\d{4}){2,3}(?:[ -]\d{1,4})?|\d{4}[ -]\d{6}[ -]\d{4,5}"
)
_WORDS = frozenset(
    """
    card cards cc credit debit creditcard debitcard visa mastercard maestro amex discover jcb
    karte kreditkarte carte tarjeta carta cartão kort kreditkort luottokortti karta kártya pan cvv
    """.encode().split()
)
_BESIDE = WORD | class_of(b".,@#$%&=-+")
_TEST_NUMBERS = b"400000"  # Visa's range for tests, which pseudonyms are taken from
_NEAR = 48


def cards(text: Text) -> list[tuple[int, int]]:
    groups = text.groups
    may = (groups.num_digits >= 12) & (groups.num_digits <= 19) & (groups.num_runs <= 5)
    may &= ~_BESIDE[text.codes[groups.start - 1]] | (text.codes[groups.start - 1] == 35)
    may &= ~WORD[text.codes[groups.end]] & (text.codes[groups.end - 1] != 46)
    found = []
    for start, end in zip(groups.start[may].tolist(), groups.end[may].tolist(), strict=True):
        number = text.data[start:end]
        if not _WRITTEN.fullmatch(number):
            continue
        digits = number.translate(None, b" -")
        if not luhn(digits) or digits.startswith(_TEST_NUMBERS):
            continue
        if _SURE.match(digits) or not _WORDS.isdisjoint(text.words_around(start, end, _NEAR)):
            found.append((start, end))
    return found
