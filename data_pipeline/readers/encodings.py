"""Which encoding bytes are in: strict for files of one's own, as browsers see it for pages.

Files: a byte order mark, a declared encoding (PEP 263 in .py, <meta charset> in HTML), else UTF-8,
strictly; what does not decode fails with its offset, and is neither guessed nor mended.

Pages of a crawl: a byte order mark; else UTF-8 where the bytes are UTF-8, whatever is declared (no
other encoding looks like it by chance); else the declared encoding, of the HTTP header before that
of <meta>, by the names of the WHATWG (so latin-1 means windows-1252); else, where none is declared
and the bytes are not UTF-8 with a few errors, what charset_normalizer makes of the first 16 KiB.
"""

import codecs
import io
import re
import tokenize

import charset_normalizer

from data_pipeline.document import suffix_of
from data_pipeline.listing import first_line
from data_pipeline.readers.records import Unreadable, encoded

_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.I)
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Labels that the WHATWG's Encoding Standard (encoding.spec.whatwg.org) reads otherwise than Python.
_WHATWG = {
    "cp1252": "latin-1 latin1 l1 iso-8859-1 iso8859-1 iso_8859-1 iso88591 ascii us-ascii cp819"
    " ibm819 x-cp1252",
    "cp1254": "iso-8859-9 iso8859-9 iso_8859-9 iso88599 latin5 l5 x-cp1254",
    "cp874": "iso-8859-11 iso8859-11 iso885911 tis-620 dos-874 windows-874",
    "gb18030": "gb2312 gbk gb_2312 gb_2312-80 csgb2312 chinese x-gbk iso-ir-58",
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji windows-31j csshiftjis ms932",
    "cp949": "euc-kr ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 korean cseuckr windows-949",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "x-euc-jp cseucpkdfmtjapanese",
    "iso-8859-8": "iso-8859-8-i iso-8859-8-e logical visual",
    "koi8-r": "koi koi8 koi8_r cskoi8r",
    "mac_roman": "macintosh mac x-mac-roman csmacintosh",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "utf-8": "utf8 unicode-1-1-utf-8 x-unicode20utf8 utf-16 utf-16le utf-16be utf-7",
}
_PYTHONS = {label: codec for codec, labels in _WHATWG.items() for label in labels.split()}
_SAMPLE = 2**14  # bytes that are shown to the guesser
_FEW_ERRORS = 0.1  # of the bytes beyond ASCII: then it is UTF-8 that is damaged, nothing else


def decode(data: bytes, declared: str | None = None) -> bytes:
    """A file's bytes to UTF-8.

    Raises:
        Unreadable: not_utf8 (or not_ENCODING), unknown_encoding, lone_surrogate.
    """
    encoding = _marked(data) or declared or "utf-8"
    try:
        text = data.decode(encoding, _errors(encoding))
    except UnicodeDecodeError as error:
        raise _undecodable(encoding, error) from None
    except LookupError:
        raise Unreadable(
            "unknown_encoding", f"it declares {encoding!r}; convert it to UTF-8"
        ) from None
    return data if encoding.lower() in ("utf-8", "utf8") else encoded(text)


def declared_in_html(data: bytes) -> str | None:
    """The codec that <meta> names within the first 2 KiB, or the name if there is none of it."""
    match = _META.search(data, 0, 2048)
    label = match.group(1).decode("ascii") if match else None
    return _codec(label) or label


def declared_in_python(data: bytes, path: str) -> str | None:
    """PEP 263's; None where the file is no Python or declares nothing but UTF-8.

    Raises:
        Unreadable: unknown_encoding.
    """
    if suffix_of(path) not in (".py", ".pyi"):
        return None
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError as error:
        raise Unreadable("unknown_encoding", f"{first_line(error)}; convert it to UTF-8") from None
    return None if encoding == "utf-8-sig" else encoding


def decode_page(data: bytes, header: str | None, is_html: bool) -> tuple[bytes, str]:
    """A page's bytes to UTF-8, and the encoding that they were in; header = HTTP's charset.

    Raises:
        Unreadable: not_utf8 (or not_ENCODING), unknown_encoding.
    """
    if mark := _marked(data):
        try:
            return encoded(data.decode(mark)), mark.removesuffix("-sig")
        except UnicodeDecodeError as error:
            raise _undecodable(mark, error) from None
    labels = [header, declared_in_html(data) if is_html else None]
    codec = next((codec for label in labels if (codec := _codec(label))), None)
    try:
        text = data.decode("utf-8")
        # The escapes of these are ASCII, so their pages are UTF-8 too.
        if not (codec and codec.startswith(("iso2022", "iso-2022", "hz")) and b"\x1b" in data):
            return data, "utf-8"
    except UnicodeDecodeError as error:
        if codec == "utf-8" or (codec is None and _is_damaged_utf8(data)):
            raise _undecodable("utf-8", error) from None
    codec = codec or _guessed(data)
    try:
        text = data.decode(codec, _errors(codec))
    except UnicodeDecodeError as error:
        raise _undecodable(codec, error) from None
    return encoded(text), codec


def _codec(label: str | None) -> str | None:
    """Python's codec for a label of the web; None = there is no such."""
    if not label:
        return None
    label = label.strip(" \t\"'").lower()
    codec = _PYTHONS.get(label, label)
    try:
        found = codecs.lookup(codec)
    except (LookupError, ValueError):
        return None
    # Python has codecs that are no encodings, such as rot13 and zip.
    return found.name if found._is_text_encoding else None


def _marked(data: bytes) -> str | None:
    return next((codec for mark, codec in _MARKS.items() if data.startswith(mark)), None)


def _is_damaged_utf8(data: bytes) -> bool:
    start = _first_beyond_ascii(data)
    sample = data[start : start + _SAMPLE]
    num_errors = sample.decode("utf-8", "replace").count("\ufffd")
    return num_errors <= _FEW_ERRORS * len(sample.translate(None, bytes(range(128))))


def _guessed(data: bytes) -> str:
    start = max(_first_beyond_ascii(data) - _SAMPLE // 4, 0)
    found = charset_normalizer.from_bytes(data[start : start + _SAMPLE]).best()
    codec = None if found is None else _codec(found.encoding.replace("_", "-"))
    if codec is None:
        raise Unreadable(
            "unknown_encoding", "it declares none, and looks like none; it may be binary"
        )
    return codec


def _first_beyond_ascii(data: bytes) -> int:
    match = re.search(rb"[\x80-\xff]", data)
    return match.start() if match else 0


def _undecodable(encoding: str, error: UnicodeDecodeError) -> Unreadable:
    name = re.sub(r"[^a-z0-9]+", "_", encoding.lower().replace("utf-", "utf").replace("-sig", ""))
    return Unreadable(
        f"not_{name}",
        f"byte 0x{error.object[error.start]:02x} at offset {error.start} is not {encoding}; "
        "convert the file to UTF-8 (iconv -f ENCODING -t UTF-8)",
    )


def _errors(codec: str) -> str:
    return "whatwg-c1" if codec == "cp1252" else "strict"


def _c1(error: UnicodeError) -> tuple[str, int]:
    """The five bytes that windows-1252 leaves open are control characters to the WHATWG."""
    assert isinstance(error, UnicodeDecodeError)
    return chr(error.object[error.start]), error.start + 1


codecs.register_error("whatwg-c1", _c1)
