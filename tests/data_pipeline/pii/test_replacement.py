"""Placeholders and pseudonyms: the same value the same everywhere, nobody's, and of its form."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from data_pipeline.document import batch_of
from data_pipeline.pii import KINDS, Pii, PiiConfig
from data_pipeline.pii.checksums import luhn, mod_97
from data_pipeline.pii.replacement import Pseudonyms, placeholder
from nanojaxlm.errors import UserError

KEY, OTHER = b"the first secret", b"another secret of ours"
VALUES = {
    "email": ("jane@mail.com", r"user-[0-9a-f]{8}@example\.com"),
    "phone": ("+49 30 901-8207 ext. 12", r"\+49 30 555-01\d\d ext\. 00"),
    "ip": ("151.101.1.69", r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}"),
    "card": ("4111 1111-1111 1111", r"4000 00\d\d-\d{4} \d{4}"),
    "iban": ("GB29 NWBK 6016 1331 9268 19", r"GB\d\d XXXX 00\d\d \d{4} \d{4} \d\d"),
    "national_number": ("390.533.447-05", r"000\.\d{3}\.\d{3}-\d\d"),
    "birth_date": ("2/8/1935", r"[1-9]/[1-9]/193\d"),
    "street": ("221 Baker Street", r"\d{1,3} Example Street"),
    "person": ("Jane Q. Doe", r"[A-Z][a-z]+ [A-Z][a-z]+\. [A-Z][a-z]+"),
    "secret": ("AKIAIOSFODNN7EXAMPLE", r"REMOVED\d{4}"),
    "credentials": ("joe:hunter2", r"user:removed-[0-9a-f]{8}"),
}


def test_placeholders():
    assert [placeholder(kind, b"x") for kind in ("email", "national_number")] == [
        b"<EMAIL>",
        b"<NATIONAL_NUMBER>",
    ]


def test_every_kind_has_a_pseudonym():
    assert set(VALUES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_pseudonyms_have_the_form_and_depend_on_value_and_key(kind: str):
    value, form = VALUES[kind]
    invented = Pseudonyms(KEY)(kind, value.encode())
    assert re.fullmatch(form, invented.decode()), invented
    assert Pseudonyms(KEY)(kind, value.encode()) == invented
    others = [Pseudonyms(OTHER + b"%d" % i)(kind, value.encode()) for i in range(8)]
    assert any(other != invented for other in others)


def test_the_same_number_written_otherwise_is_the_same_person():
    invent = Pseudonyms(KEY)
    assert invent("email", b"Jane@Mail.com") == invent("email", b"jane@mail.com")
    one, two = invent("card", b"4111111111111111"), invent("card", b"4111 1111 1111 1111")
    assert two.replace(b" ", b"") == one
    assert invent("phone", b"+49 30 9018207")[-4:] == invent("phone", b"+49309018207")[-4:]


def test_invented_values_are_nobodys():
    invent = Pseudonyms(KEY)
    for i in range(50):
        card = invent("card", b"411111111111%04d" % i)
        assert luhn(card)
        assert card.startswith(b"400000")
        assert mod_97(invent("iban", b"DE8937040044053201%04d" % i)) == 1
        address = ipaddress.ip_address(invent("ip", b"151.101.1.%d" % i).decode())
        assert not address.is_global
    address = ipaddress.ip_address(invent("ip", b"2607:f8b0::200e").decode())
    assert address in ipaddress.ip_network("2001:db8::/32")
    block = b"-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE KEY-----"
    assert b"MIIE" not in invent("secret", block)


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[[bytes], str]:
    def write(secret: bytes) -> str:
        path = tmp_path / secret.hex()
        path.write_bytes(secret)
        return str(path)

    return write


def test_a_key_that_is_none_is_refused(tmp_path: Path, key_file):
    batch = batch_of(["a@b.de"])
    for path, message in (
        (str(tmp_path / "none"), "No such file"),
        (key_file(b"short"), "5 bytes"),
    ):
        with pytest.raises(UserError, match=message):
            Pii(PiiConfig(pseudonym_key_file=path)).judge(batch)


def test_the_key_is_a_file_of_the_stage(key_file):
    path = key_file(KEY)
    assert Pii(PiiConfig(pseudonym_key_file=path)).files == (path,)


def test_consistent_over_documents_and_batches(key_file):
    text = "a@b.de, +49 30 9018207, 4111 1111 1111 1111; "
    stage = Pii(PiiConfig(pseudonym_key_file=key_file(KEY)))
    first = stage.judge(batch_of([text + text, "x " + text])).texts
    second = Pii(PiiConfig(pseudonym_key_file=key_file(KEY))).judge(batch_of([text])).texts
    other = Pii(PiiConfig(pseudonym_key_file=key_file(OTHER))).judge(batch_of([text])).texts
    assert first is not None
    assert second is not None
    assert other is not None
    invented = second[0].as_py()
    assert first.to_pylist() == [invented * 2, "x " + invented]
    assert other[0].as_py() != invented


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"birth_date", "person"}))
def test_pseudonyms_are_left_alone_when_they_are_met_again(kind: str, key_file):
    context = {"credentials": "ftp://{}@example.com", "secret": "api_key={}"}.get(
        kind, "Call {} now"
    )
    for i in range(20):
        invented = Pseudonyms(KEY + b"%d" % i)(kind, VALUES[kind][0].encode()).decode()
        text = context.format(invented)
        judged = Pii(PiiConfig(pseudonym_key_file=key_file(OTHER), kinds=(kind,))).judge(
            batch_of([text])
        )
        assert judged.texts is None, (text, judged.texts)
