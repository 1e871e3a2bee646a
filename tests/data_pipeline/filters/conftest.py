"""Documents of many kinds, made here, that break every published rule and stand near its bound."""

# ruff: noqa: RUF001  (characters that look alike are what this is about)

import random
from collections.abc import Callable

import pytest

PLAIN = """
    the be to of and that have with river mountain village letter winter garden teacher history
    I science market
    bridge forest captain silver morning journey kitchen window island thunder music
""".split()  # noqa: SIM905  (a list of so many lines tells less)
ODD = """
    don't it's we'll John's well-known self-made e.g. Mr. Smith 1,000 3.5 10% $5 (see below)
    "quoted" U.S. can't cannot gonna and/or 10km 9am http://example.org/path?q=1
    name@example.org word.Word don’t “curly” naïve Ünder é … -- — foo/bar x=1 a+b C++ 1990s
    isn't, what's? :) 3-4 1--2 [note] 'tis rock'n'roll o'clock Ph.D. i.e. etc. a.m. km² 5€ €5
    #tag @user 100°C. said, then; so: yes! no?
""".split()  # noqa: SIM905  (a list of so many lines tells less)
PHRASES = [
    "Lorem ipsum dolor sit amet and so it goes on.",
    "Please enable JavaScript to see this page.",
    "By using this site you accept the terms of use.",
    "This site uses cookies to serve you better.",
    "function() { return 1; }",
    "He was born in 1950 [1] and died in 1990.[2]",
    "History [edit]",
    "It is said [citation needed] that it was so.",
    "Read more",
    "Home | About | Contact",
    "- an item of a list",
    "• another item of the list here",
    "and then it went on...",
    "and then it went on…",
    "# A heading",
    "###### ###### ######",
    "3 likes",
    "日本語の文章です。これは二つ目の文です。",
    "Это предложение на русском языке. А это второе!",
    "Dies ist ein deutscher Satz, der nichts bedeutet.",
    "x" * 1200 + " is a long word.",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z.",
    "12 34 56 78 90 12.5 13.7 14.9",
    "internationalization institutionalization counterrevolutionary.",
    "",
    "   ",
    "\t",
]
BREAKS = ["\n"] * 40 + ["\n\n"] * 8 + ["\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\n\n\n"]
SPACES = [" "] * 60 + ["  ", "\t", "\u00a0", "\u2003", " \u200b"]


def _sentence(rng: random.Random, num_words: int, odd: float) -> str:
    words = [rng.choice(ODD if rng.random() < odd else PLAIN) for _ in range(num_words)]
    joined = "".join(w + rng.choice(SPACES) for w in words).strip()
    return joined.capitalize() + rng.choice([".", ".", ".", "!", "?", "...", "", ",", '."', ".)"])


def _document(rng: random.Random) -> str:
    kind = rng.randrange(9)
    odd = rng.choice([0, 0.1, 0.3, 1])
    num_lines = rng.choice([1, 2, 3, 4, 5, 6, 8, 12, 20, 40])
    lines = [_sentence(rng, rng.choice([1, 2, 3, 5, 8, 13, 20, 40]), odd) for _ in range(num_lines)]
    if kind == 1:  # repeated lines
        lines += rng.choices(lines, k=rng.randint(1, num_lines))
        rng.shuffle(lines)
    elif kind == 2:  # phrases that rules look for
        for _ in range(rng.randint(1, 8)):
            lines.insert(rng.randint(0, len(lines)), rng.choice(PHRASES))
    elif kind == 3:  # a repeated run of words
        run = _sentence(rng, rng.randint(2, 14), odd)
        lines = [f"{line} {run}" if rng.random() < 0.4 else line for line in lines]
    elif kind == 4:  # mostly one phrase
        phrase = rng.choice(PHRASES)
        lines = [phrase if rng.random() < rng.choice([0.3, 0.9]) else line for line in lines]
    elif kind == 5:  # marks
        marks = "#.…-–—'\"()[]{}<>:;,!?/\\|@&*^%$€+=~_`"
        lines = [
            "".join(rng.choice(marks + "ab1 ") for _ in range(rng.randint(1, 60)))
            for _ in range(num_lines)
        ]
    elif kind == 6:  # a list
        start = rng.choice(["- ", "• ", "* ", "1. ", "# "])
        lines = [start + line for line in lines]
    elif kind == 7:  # few kinds of words
        few = rng.sample(PLAIN + ODD, rng.randint(2, 12))
        lines = [" ".join(rng.choice(few) for _ in range(12)) + "." for _ in range(num_lines)]
    text = "".join(line + rng.choice(BREAKS) for line in lines)
    return rng.choice(["", "", "", "\n", "  ", "\n\n"]) + (
        text if rng.random() < 0.5 else text[:-1]
    )


@pytest.fixture(scope="session")
def odd_documents() -> Callable[[int, int], list[str]]:
    """odd_documents(seed, n): n documents."""

    def make(seed: int, n: int) -> list[str]:
        rng = random.Random(seed)
        return [_document(rng) for _ in range(n)]

    return make
