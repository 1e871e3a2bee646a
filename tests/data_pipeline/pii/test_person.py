"""Names of persons, where faker and its lists are there."""

import sys

import pytest

from data_pipeline.document import batch_of
from data_pipeline.pii import KINDS, Pii, PiiConfig
from data_pipeline.pii.gazetteer import gazetteer
from data_pipeline.stage import file_key
from nanojaxlm.errors import UserError


@pytest.fixture(autouse=True)
def faker():
    pytest.importorskip("faker", reason="names of persons need faker")


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("said Gregory Kudryashov.", "said <PERSON>."),
        ("Mr. Manning is here", "Mr. <PERSON> is here"),
        ("and Dr. Cindy Q. Holinka flew", "and Dr. <PERSON> flew"),
        ("Jacob lives here", "<PERSON> lives here"),
        ("Živa Krajnc and Łukasz Wójcik", "<PERSON> and <PERSON>"),
        ("in San Francisco, April showers, Will it rain", None),
        ("the Thomas Bank, Martha Street", None),
        ("jacob lives here", None),
    ],
)
def test_names(scrub, text: str, scrubbed: str | None):
    assert scrub(text, kinds=("person",)) == (text if scrubbed is None else scrubbed)


def test_names_with_other_kinds_are_settled(scrub):
    text = "Jane Doe <jane@mail.com>, Mr. Miller, 221 Baker Street; Karl Jacob Peter Doe"
    once = scrub(text, kinds=KINDS)
    assert scrub(once, kinds=KINDS) == once


def test_the_lists_are_files_of_the_stage():
    assert not Pii(PiiConfig()).files
    files = Pii(PiiConfig(kinds=("person",))).files
    assert len(files) > 50
    assert file_key(files[0])


def test_without_faker_the_user_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "faker.providers.person", None)
    gazetteer.cache_clear()
    with pytest.raises(UserError, match="pip install faker"):
        Pii(PiiConfig(kinds=("person",))).judge(batch_of(["Jane Doe"]))
