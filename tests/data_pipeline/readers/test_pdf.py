"""PDF: pages to text; what has none, or cannot be opened, is told."""

import gzip
import json

import pytest


def pdf(pages: list[str], encrypted: bool = False) -> bytes:
    """A PDF of one line of Helvetica a row of each page's text."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for i, page in enumerate(pages):
        lines = " ".join(f"({line}) Tj 0 -14 Td" for line in page.splitlines())
        stream = f"BT /F 12 Tf 72 720 Td {lines} ET" if page else ""
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F 3 0 R >> >> /Contents {5 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R"
    if encrypted:
        key = "<" + "ab" * 32 + ">"
        trailer += f" /ID [<00><00>] /Encrypt << /Filter /Standard /V 1 /R 2 /O {key} /U {key}"
        trailer += " /P -4 >>"
    start = len(data)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer {trailer} >>\n"
    return data + f"{end}startxref\n{start}\n%%EOF".encode()


@pytest.mark.parametrize("name", ["a.pdf", "A.PDF", "a.pdf.gz"])
def test_pages_become_one_document(tmp_path, read_path, name):
    path = tmp_path / name
    data = pdf(["First page.\nSecond line.", "", "Third page."])
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (row,) = read_path(path)
    assert row["text"] == "First page.\nSecond line.\n\nThird page."
    assert (row["kind"], row["source"]) == ("prose", str(path))
    assert json.loads(row["metadata"]) == {"pages": 3}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf(["secret"], encrypted=True), "encrypted_pdf"),
        (pdf([""]), "pdf_without_text"),
        (pdf(["text"])[:100], "damaged_pdf"),
        (b"%PDF-1.4 and no more", "damaged_pdf"),
        (b"", "damaged_pdf"),
    ],
)
def test_what_has_no_text_to_give_is_told(tmp_path, read_path, data, reason):
    (tmp_path / "a.pdf").write_bytes(data)
    assert read_path(tmp_path / "a.pdf").reasons == [reason]


def test_a_text_beyond_the_limit_fails(tmp_path, read_path):
    (tmp_path / "a.pdf").write_bytes(pdf(["x" * 60] * 20))
    assert read_path(tmp_path / "a.pdf", max_document_bytes=1000).reasons == ["document_too_large"]


def test_a_pdf_in_a_crawl_is_prose(tmp_path, read_path):
    body = b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n" + pdf(["From the web."])
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\n"
        f"WARC-Target-URI: https://a.org/a.pdf\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    (tmp_path / "a.warc").write_bytes(head.encode() + body + b"\r\n\r\n")
    (row,) = read_path(tmp_path / "a.warc")
    assert (row["text"], row["kind"]) == ("From the web.", "prose")
