"""Pages in the encodings of the web, as browsers read them; no page is turned into mojibake."""

import pytest

from data_pipeline.readers import Unreadable
from data_pipeline.readers.encodings import decode_page

# What the WHATWG's Encoding Standard says that a label means, with a text in that encoding.
LABELLED = [
    ("iso-8859-1", "cp1252", "naïve “quotes” €"),
    ("us-ascii", "cp1252", "naïve “quotes” €"),
    ("windows-1251", "cp1251", "Привет, мир"),
    ("koi8-r", "koi8-r", "Привет, мир"),
    ("gb2312", "gb18030", "汉字 镕 €"),
    ("gbk", "gb18030", "汉字"),
    ("big5", "big5hkscs", "漢字"),
    ("shift_jis", "cp932", "日本語 ①"),
    ("x-sjis", "cp932", "日本語"),
    ("euc-jp", "euc_jp", "日本語"),
    ("iso-2022-jp", "iso2022_jp", "日本語"),
    ("ks_c_5601-1987", "cp949", "한국어 똠"),
    ("euc-kr", "cp949", "한국어"),
    ("iso-8859-9", "cp1254", "Türkçe ışık"),  # noqa: RUF001
    ("tis-620", "cp874", "ภาษาไทย"),
    ("iso-8859-2", "iso8859-2", "zażółć"),
    ("iso-8859-8-i", "iso8859-8", "שלום"),
    ("macintosh", "mac_roman", "café"),
]


@pytest.mark.parametrize(("label", "codec", "text"), LABELLED)
@pytest.mark.parametrize("place", ["header", "meta", "http-equiv"])
def test_declared_encodings_mean_what_browsers_take_them_for(label, codec, text, place):
    meta = {
        "header": "",
        "meta": f'<meta charset="{label}">',
        "http-equiv": f"<META http-equiv=Content-Type content='text/html; charset={label}'>",
    }[place]
    page = meta + f"<p>{text}</p>"
    header = label.upper() if place == "header" else None
    found, _ = decode_page(page.encode(codec), header, is_html=True)
    assert found.decode() == page


def test_utf8_wins_over_a_wrong_declaration():
    page = '<meta charset="iso-8859-1">naïve'.encode()
    assert decode_page(page, "latin-1", True) == (page, "utf-8")
    assert decode_page(page, "klingon", True) == (page, "utf-8")


def test_the_header_goes_before_meta():
    page = '<meta charset="windows-1251">é'.encode("latin-1")
    assert decode_page(page, "windows-1252", True)[0].decode().endswith("é")


def test_a_mark_goes_before_all():
    for encoding in ("utf-8-sig", "utf-16"):
        assert decode_page("é".encode(encoding), "cp1251", True)[0].decode() == "é"


def test_every_byte_is_something_in_windows_1252():
    data = bytes(range(128, 256))
    text = decode_page(data, "latin-1", False)[0].decode()
    assert len(text) == 128 and text[0] == "€" and text[1] == "\x81"


def test_damaged_utf8_is_told_and_not_read_as_another_encoding():
    page = "Größe, Straße, naïve, façade — ".encode() * 10
    damaged = page + b"\xff" + page
    for declared in ("utf-8", None, "klingon"):
        with pytest.raises(Unreadable, match="not_utf8: byte 0xff"):
            decode_page(damaged, declared, False)
    with pytest.raises(Unreadable, match="not_euc_jp"):
        decode_page(b"\xff\xff\xfe\x80", "euc-jp", False)


def test_an_undeclared_encoding_is_guessed():
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20
    found, encoding = decode_page(b" " * 50_000 + text.encode("cp1251"), None, False)
    assert found.decode().strip() == text.strip() and "1251" in encoding


def test_codecs_that_are_no_encodings_are_not_used():
    page = b"<p>caf\xe9 au lait, d\xe9j\xe0 vu, na\xefve</p>" * 30
    for label in ("rot13", "zip", "base64", "idna\0", "hex"):
        assert decode_page(page, label, True)[0].decode().startswith("<p>café")
