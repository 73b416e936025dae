"""Find and mask what names a person or opens a door: e-mail, phone, card, IP, IBAN, keys. Knows no pair.

Each find is proved where that can be done, so that order numbers, versions and times stay: the digits of a card
and of an IBAN add up, a phone number is one that its country gives out, an address is one.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator

Span = tuple[int, int]

EMAIL = re.compile(
    r"(?<![\w.+%-])[a-z0-9](?:[\w.+%-]{0,62}[\w+%-])?@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24}(?![\w-])",
    re.IGNORECASE,
)
CARD = re.compile(r"(?<![\w.,-])[2-6](?:[ -]?\d){12,18}(?![\w-]|[.,]\d)")
# What issuers but Mastercard give out, by the first digits, with their lengths.
ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}"
    r"|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{0,4}:){3,7}(?:[0-9a-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])", re.IGNORECASE
)
VERSION = re.compile(r"(?:\bversion|\bver\.?|\bv|\brelease|\bbuild)\s*$", re.IGNORECASE)
IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2})\d{2}(?: ?[A-Z0-9]){11,30}")
# How long the IBAN of a country is, from the registry of ISO 13616.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Keys by the beginning that their makers give them.
KEY = re.compile(
    r"(?<![\w-])(?:sk-[\w-]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{40,}"
    r"|glpat-[\w-]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,}|SG\.[\w-]{16,}\.[\w-]{16,}|dop_v1_[a-f0-9]{64}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})(?![\w-])"
)
SECRET = re.compile(
    r"(?:api[_ -]?key|secret(?:[_ -]?key)?|access[_ -]?token|auth[_ -]?token|token|bearer|passw(?:or)?d|pwd)"
    r"[\"']?\s{0,3}(?:[:=]|=>|\bis\b)?\s{0,3}[\"']?(?P<value>[A-Za-z0-9+/_.~!@#$%^&*-]{12,200}={0,2})",
    re.IGNORECASE,
)
SECRET_BITS = 3.2  # of Shannon entropy a letter: "correcthorse" has 3.0, random hexadecimal nearly 4
PHONE_LIKE = re.compile(r"\d(?:[^\n\d]{0,3}\d){6}")
PLACEHOLDERS = {
    "email": "[EMAIL]", "phone": "[PHONE]", "card": "[CARD]", "ip": "[IP]", "iban": "[IBAN]", "key": "[KEY]",
}  # fmt: skip


def adds_up(digits: str) -> bool:
    """Return whether the last digit is the one that Luhn's formula asks for."""
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def emails(value: str) -> Iterator[Span]:
    """Yield where e-mail addresses stand."""
    if "@" in value:
        for match in EMAIL.finditer(value):
            if ".." not in match[0]:
                yield match.span()


def cards(value: str) -> Iterator[Span]:
    """Yield where the numbers of payment cards stand: an issuer's, and Luhn's formula holds."""
    for match in CARD.finditer(value):
        digits = re.sub(r"\D", "", match[0])
        if is_issued(digits) and adds_up(digits) and len(set(digits)) > 1:
            yield match.span()


def is_issued(digits: str) -> bool:
    """Return whether a number begins as some issuer's do, and has their length."""
    if digits[0] in "52":
        is_mastercard = "51" <= digits[:2] <= "55" or "2221" <= digits[:4] <= "2720"
        return is_mastercard and len(digits) == 16
    return ISSUERS.fullmatch(digits) is not None


def addresses(value: str) -> Iterator[Span]:
    """Yield where IP addresses stand, but for those that mean this machine, and numbers of versions."""
    for pattern in (IPV4, IPV6):
        if pattern is IPV6 and value.count(":") < 3:
            return
        for match in pattern.finditer(value):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if address.is_loopback or address.is_unspecified or not any(c.isdigit() for c in match[0]):
                continue
            if not VERSION.search(value, max(0, match.start() - 12), match.start()):
                yield match.span()


def ibans(value: str) -> Iterator[Span]:
    """Yield where IBANs stand: as long as their country's, and the rest of a division by 97 is 1."""
    for match in IBAN.finditer(value):
        wanted = IBAN_LENGTHS.get(match[1])
        if wanted is None:
            continue
        taken = ""
        for place, letter in enumerate(match[0]):
            taken += letter.strip()
            if len(taken) == wanted:
                end = match.start() + place + 1
                if is_iban(taken) and not value[end : end + 1].isalnum():
                    yield match.start(), end
                break


def is_iban(letters: str) -> bool:
    """Return whether the check digits of an IBAN are right."""
    return int("".join(str(int(c, 36)) for c in letters[4:] + letters[:4])) % 97 == 1


def keys(value: str) -> Iterator[Span]:
    """Yield where keys stand: by the beginnings that their makers give them, or named as such and random."""
    if "PRIVATE KEY" in value:
        for match in PRIVATE_KEY.finditer(value):
            yield match.span()
    for match in KEY.finditer(value):
        if any(c.isdigit() for c in match[0]):
            yield match.span()
    for match in SECRET.finditer(value):
        if is_random(match["value"]):
            yield match.span("value")


def is_random(letters: str) -> bool:
    """Return whether letters and digits come in an order that nobody writes by hand."""
    if not (re.search(r"\d", letters) and re.search(r"[A-Za-z]", letters)):
        return False
    shares = [number / len(letters) for number in Counter(letters).values()]
    return -sum(share * math.log2(share) for share in shares) >= SECRET_BITS


def phones(value: str, region: str = "") -> Iterator[Span]:
    """Yield where phone numbers stand that their country gives out.

    Without a region ("GB") those alone that begin with + and the number of a country.
    """
    if not (region or "+" in value or "＋" in value) or not PHONE_LIKE.search(value):
        return
    import phonenumbers

    for match in phonenumbers.PhoneNumberMatcher(value, region or None, leniency=phonenumbers.Leniency.VALID):
        yield match.start, match.end


FINDERS: dict[str, Callable[[str], Iterator[Span]]] = {
    "key": keys, "email": emails, "iban": ibans, "card": cards, "ip": addresses, "phone": phones,
}  # fmt: skip


def regions() -> frozenset[str]:
    """Return the countries whose phone numbers are known: GB, DE …"""
    import phonenumbers

    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def find(value: str, kinds: Collection[str] = tuple(FINDERS), region: str = "") -> list[tuple[int, int, str]]:
    """Return what is found in a text as (start, end, kind), in order; where two overlap, the first of FINDERS."""
    found: list[tuple[int, int, str]] = []
    for kind, finder in FINDERS.items():
        if kind in kinds:
            spans = phones(value, region) if kind == "phone" else finder(value)
            found += [(a, b, kind) for a, b in spans if all(b <= start or end <= a for start, end, _ in found)]
    return sorted(found)


def mask(value: str, kinds: Collection[str], region: str = "") -> tuple[str, int]:
    """Return a text with [EMAIL], [PHONE] … in place of what is found, and how many there are."""
    found = find(value, kinds, region)
    for start, end, kind in reversed(found):
        value = value[:start] + PLACEHOLDERS[kind] + value[end:]
    return value, len(found)
