"""What each kind finds and what it leaves alone, on published examples and look-alikes."""

import ipaddress
import random

import pytest

from data_pipeline.pii.ip import is_public_4

FOUND = [
    # e-mail: RFC 5322's and 6531's forms
    ("Write to jane.doe+news@mail.co.uk, please.", "Write to <EMAIL>, please."),
    ("<o'neil@x-y.org>", "<o'<EMAIL>>"),
    ("“müller@bücher.de”", "“<EMAIL>”"),
    ("mailto:a_b@c-d.io?subject=x", "mailto:<EMAIL>?subject=x"),
    ("mail='me@home.net'", "mail='<EMAIL>'"),
    ("reach jane [at] mail.org or joe(at)mail.org", "reach <EMAIL> or <EMAIL>"),
    ("שלחו אל dana@walla.co.il עכשיו", "שלחו אל <EMAIL> עכשיו"),
    # telephone
    ("+49 30 901820", "<PHONE>"),
    ("+1-604-696-5272x565", "<PHONE>"),
    ("(212) 736-5000", "<PHONE>"),
    ("call 212.736.5000 ext. 12 now", "call <PHONE> now"),
    ("+33 (0)1 42 68 53 00", "<PHONE>"),
    ("01 42 68 53 00", "<PHONE>"),
    ("London 020 7946 0958.", "London <PHONE>."),
    ("Berlin 030/9018 20", "Berlin <PHONE>"),
    ("Tel.: 9469 9966", "Tel.: <PHONE>"),
    ("هاتف +966 11 402 0000", "هاتف <PHONE>"),
    ("+44\u00a020\u00a07946\u00a00018", "<PHONE>"),
    ("+49 30\u2011901\u20111820", "<PHONE>"),
    # IP
    ("from 151.101.1.69:443", "from <IP>:443"),
    ("[2607:f8b0:4005:805::200e]", "[<IP>]"),
    ("2a00:1450:4001:81b:0:0:0:200e", "<IP>"),
    # cards: numbers that the networks publish for tests
    ("4111 1111 1111 1111", "<CARD>"),
    ("5500-0000-0000-0004", "<CARD>"),
    ("378282246310005", "<CARD>"),
    ("3782 822463 10005", "<CARD>"),
    ("6011111111111117", "<CARD>"),
    ("30569309025904", "<CARD>"),
    ("3530111333300000", "<CARD>"),
    ("my card 6304000000000000", "my card <CARD>"),
    # IBAN: the registry's examples
    ("GB29 NWBK 6016 1331 9268 19", "<IBAN>"),
    ("DE89370400440532013000.", "<IBAN>."),
    ("iban fr1420041010050500013m02606", "iban <IBAN>"),
    ("NO93 8601 1117 947", "<IBAN>"),
    ("MT84MALT011000012345MTLCAST001S", "<IBAN>"),
    # dates of birth
    ("born on 2/8/1935.", "born on <BIRTH_DATE>."),
    ("Date of birth: 1978-04-13", "Date of birth: <BIRTH_DATE>"),
    ("DOB 04.13.78", "DOB <BIRTH_DATE>"),
    ("She was born on May 5, 1980 in Rome", "She was born on <BIRTH_DATE> in Rome"),
    ("geboren am 3. Oktober 1990", "geboren am <BIRTH_DATE>"),
    ("née le 14 juillet 1989", "née le <BIRTH_DATE>"),
    # streets
    ("at 221 Baker Street, London", "at <STREET>, London"),
    ("1600 Pennsylvania Ave NW", "<STREET> NW"),
    ("12, rue de Rivoli", "<STREET>"),
    ("Lindenstraße 5", "<STREET>"),
    ("Calle de Alcalá 42", "<STREET>"),
    ("P.O. Box 287", "<STREET>"),
    ("742 Evergreen Terrace, Springfield, OR 97475", "<STREET>"),
    # credentials and secrets; the keys are the makers' own examples or invented here
    ("ftp://joe:hunter2@host.org/x", "ftp://<CREDENTIALS>@host.org/x"),
    ("key AKIAIOSFODNN7EXAMPLE.", "key <SECRET>."),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
     "aws_secret_access_key = <SECRET>"),
    ('api_key="9f86d081884c7d659a2feaa0c55ad015"', 'api_key="<SECRET>"'),
    ("ghp_" + "a1B2" * 9, "<SECRET>"),
    ("xoxb-123456789012-abcdefABCDEF", "<SECRET>"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.SflKxwRJSMeKKF2QT4", "<SECRET>"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1c7\n-----END RSA PRIVATE KEY-----",
     "<SECRET>"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "scrubbed"), FOUND)
def test_found(scrub, text: str, scrubbed: str):
    assert scrub(text) == scrubbed


LEFT = [
    "logo@2x.png and logo@2x.jpg",
    "git@github.com:me/it.git",
    "user@example.com, a@b.example, x@y",
    "@property\ndef f(self): return a@b.T + a@b.dot(c)",
    "version 1.2.3.4, section 8.2.4.44, Chrome/91.0.44.124",
    "192.168.0.1 127.0.0.1 10.1.2.3 192.0.2.7 fe80::1 ::1 2001:db8::5",
    "std::vector<abc::def> at 12:30:45, 00:1a:2b:3c:4d:5e, dead::beef",
    "999.151.1.69 1.2.3.4.5.6 151.101.1.690",
    "4111 1111 1111 1112, 4111-1111-1111",
    "0.4111111111111111 and a4111111111111111",
    "GB29 NWBK 6016 1331 9268 18",
    "12-05-1999, 1914-1918, 2019-03-05 12:30:45, 3.14159265358",
    "123e4567-e89b-12d3-a456-426614174000",
    "ISBN 978-0-306-40615-7, ISBN 0-19-852663-6",
    "9f86d081884c7d659a2feaa0c55ad015",
    "Art 3 u. 4, 5 Millionen Stück, 2 via Moscow, GSM 900/1800",
    "The war began on 1 September 1939.",
    "In 1954 Supreme Court justices, 5 Great Hopes, 20 years",
    'token = "some_module.some_function_name2"; key = path/to/the/file12',
    "f(1234567, 7654321) = 12345678901234",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "ftp://$USER:$PASSWORD@host.org and ftp://{user}:{password}@host.org",
    "https://host.org/path@v1.2.3, http://host:8080/x",
    "000-12-3456, 666-12-3456, 123-00-4567, 123-45-0000",
]


@pytest.mark.parametrize("text", LEFT)
def test_left_alone(scrub, text: str):
    assert scrub(text) == text


def test_public_addresses_are_those_of_the_registry():
    rng = random.Random(3)
    edges = [0, 1, 2, 9, 10, 11, 63, 64, 99, 100, 113, 127, 128, 168, 169, 172, 192, 198, 203, 254]
    for _ in range(5000):
        parts = [rng.choice(edges) if rng.random() < 0.7 else rng.randrange(256) for _ in range(4)]
        address = ipaddress.IPv4Address(bytes(parts))
        if address in ipaddress.ip_network("192.0.0.0/24"):  # two of its addresses are anycast
            continue
        public = address.is_global and not address.is_multicast
        assert is_public_4(*parts) == public, address


def test_private_addresses_if_wanted(scrub):
    assert scrub("from 192.168.0.1", public_ips_only=False) == "from <IP>"


def test_kinds_left_out_are_left_alone(scrub):
    assert scrub("a@b.de +49 30 901820", kinds=("phone",)) == "a@b.de <PHONE>"


def test_the_longer_of_two_findings_stays(scrub):
    # an address within a URL's credentials; a telephone number within a card's
    assert scrub("https://a.b@c.de:pw123@host.org") != "https://<EMAIL>:pw123@host.org"
    assert scrub("call 4111 1111 1111 1111") == "call <CARD>"
