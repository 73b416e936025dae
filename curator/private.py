"""What in a text should not leave the house: e-mail, phone, card, IP, IBAN, keys. Knows one string, no rule for it.

Each find is proved where that can be done, so that order numbers, versions and times stay: the digits of a card
and of an IBAN add up, a phone number is one that its country gives out, an address is one. `find` gives all of them;
`find_private` leaves out those that name nobody: examples, home networks, placeholders.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

KINDS = {
    "key": "key or password", "email": "e-mail address", "iban": "IBAN", "card": "card number", "ip": "IP address",
    "phone": "phone number",
}  # fmt: skip
EMAIL = re.compile(
    r"(?<![\w.+%-])[a-z0-9](?:[\w.+%-]{0,62}[\w+%-])?@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24}(?![\w-])",
    re.IGNORECASE,
)
# Names that documents use for nobody (RFC 2606), and what people write for "your address".
NOBODYS = re.compile(
    r"@(?:.*\.)?(?:[\w-]*example[\w-]*\.\w+|example|test|invalid|localhost|(?:email|domain|mail|yourdomain|company|yourcompany)\.\w+)$",
    re.IGNORECASE,
)
# Seven digits at least in what may be a number: most texts have none, and one look for it spares many.
NUMBER = re.compile(r"\d[ \d.()-]{6}")
# As phone numbers are written in North America, and what may begin with the sign of a country.
AMERICAN = re.compile(
    r"(?<![\w.+/=#$€£-])(?<!\+\d[ .-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-]|\.\d|[ .-]\d)"
)
WITH_COUNTRY = re.compile(r"[+＋][^\w\n+]{0,2}\d(?:[^\w\n+]{0,3}\d){6}")
DIGITS = re.compile(r"\d{3}\)?[ .-]\d{3}[ .-]\d{4}")
PHONE_LIKE = re.compile(r"\d(?:[^\n\d]{0,3}\d){6}")
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
RESOLVERS = ("8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9", "208.67.222.222")
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
    r"(?<![\w-])(?:sk-(?:ant-|proj-)?[\w-]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{40,}"
    r"|glpat-[\w-]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,}|dop_v1_[a-f0-9]{64}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})(?![\w-])"
)
IN_ADDRESS = re.compile(r"(?<=://)[^\s/:@]{1,64}:(?P<value>[^\s/:@]{3,64})(?=@[\w.-])")
NAMED = re.compile(
    r"(?:passw(?:or)?d|pwd|secret(?:[_ -]?key)?|(?:api|access)[ _-]?key|(?:access[ _-]?|auth[ _-]?)?token|bearer)"
    r"[\"']?\s{0,3}(?P<sign>=>|[:=]|\bis\b)?\s{0,3}[\"']?(?P<value>[^\s\"'<>(){}\[\],;]{8,200})",
    re.IGNORECASE,
)
CALLED = ("passw", "pwd", "secret", "key", "token", "bearer")  # quicker to look for than NAMED
PLACEHOLDER = re.compile(
    r"x{4}|\*{3}|\.{3}|your|example|changeme|placeholder|1234567|abcdefg|dummy|_here", re.IGNORECASE
)
# Of entropy a letter, of what is called a key: "correcthorse" has 3.0, random hexadecimal nearly 4.
LEAST_BITS, LEAST_LENGTH = 3.0, 8
UNSIGNED_BITS, UNSIGNED_LENGTH = 3.2, 16  # where no sign stands between the word and the key


class Span(NamedTuple):
    """Where something private stands in a text."""

    start: int
    end: int
    kind: str  # a key of KINDS


def find(text: str, kinds: Collection[str] = tuple(KINDS), region: str = "") -> list[Span]:
    """Return what is private in a text, in reading order; where two overlap, the first of KINDS.

    Phone numbers without the sign of a country are those of North America, and of the region ("GB").
    """
    found: list[Span] = []
    has_number = NUMBER.search(text) is not None
    for kind, look in LOOKS.items():
        if kind in kinds and (has_number or kind not in NUMBERED or (kind == "phone" and region)):
            for start, end in phones(text, region) if kind == "phone" else look(text):
                if all(end <= other.start or other.end <= start for other in found):
                    found.append(Span(start, end, kind))
    return sorted(found)


def find_private(text: str) -> list[Span]:
    """Return what is private in a text and may be somebody's."""
    return [span for span in find(text) if not is_nobodys(text[span.start : span.end], span.kind)]


def is_nobodys(said: str, kind: str) -> bool:
    """Return whether an address, a number or a key is an example, or says nothing of anybody."""
    if kind == "email":
        return NOBODYS.search(said) is not None
    if kind == "key":
        return PLACEHOLDER.search(said) is not None
    if kind == "ip":
        address = ipaddress.ip_address(said)
        # 1.2.3.4 and 10.15.7.3 are versions as often as addresses.
        is_version = address.version == 4 and address.packed[0] <= 20
        return not address.is_global or address.is_multicast or is_version or said in RESOLVERS
    digits = "".join(c for c in said if c.isdigit())
    if kind == "phone":
        return "555" in digits[-10:-4] or len(set(digits)) < 4 or "1234567" in digits
    return kind == "card" and len(set(digits)) < 3


def keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield where keys stand: by the beginnings that their makers give them, or named as such and random."""
    if "PRIVATE KEY" in text:
        for match in PRIVATE_KEY.finditer(text):
            yield match.span()
    if any(sign in text for sign in ("-", "_", "IA", "Iza", "eyJ", "SG.", "ya29.")):
        for match in KEY.finditer(text):
            if any(c.isdigit() for c in match[0]):
                yield match.span()
    if "://" in text:
        for match in IN_ADDRESS.finditer(text):
            yield match.span("value")
    small = text.lower()
    if any(word in small for word in CALLED):
        for match in NAMED.finditer(text):
            word = match["value"].rstrip(".!?")
            bits, length = (LEAST_BITS, LEAST_LENGTH) if match["sign"] else (UNSIGNED_BITS, UNSIGNED_LENGTH)
            is_mixed = any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
            if is_mixed and len(word) >= length and entropy(word) >= bits:
                yield match.start("value"), match.start("value") + len(word)


def entropy(word: str) -> float:
    """Return how many bits a character of a word carries, by how often each occurs in it."""
    return -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Yield where e-mail addresses stand."""
    if "@" in text:
        for match in EMAIL.finditer(text):
            if ".." not in match[0]:
                yield match.span()


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the numbers of payment cards stand: an issuer's, and Luhn's formula holds."""
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if is_issued(digits) and adds_up(digits) and len(set(digits)) > 1:
            yield match.span()


def is_issued(digits: str) -> bool:
    """Return whether a number begins as some issuer's do, and has their length."""
    if digits[0] in "52":
        is_mastercard = "51" <= digits[:2] <= "55" or "2221" <= digits[:4] <= "2720"
        return is_mastercard and len(digits) == 16
    return ISSUERS.fullmatch(digits) is not None


def adds_up(digits: str) -> bool:
    """Return whether the last digit is the one that Luhn's formula asks for."""
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """Yield where IP addresses stand, but for those that mean this machine, and numbers of versions."""
    for pattern, sign in ((IPV4, "."), (IPV6, ":")):
        if text.count(sign) < 3 or (sign == "." and not NUMBER.search(text)):
            continue
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if address.is_loopback or address.is_unspecified or not any(c.isdigit() for c in match[0]):
                continue
            if not VERSION.search(text, max(0, match.start() - 12), match.start()):
                yield match.span()


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where IBANs stand: as long as their country's, and the rest of a division by 97 is 1."""
    for match in IBAN.finditer(text):
        wanted = IBAN_LENGTHS.get(match[1])
        if wanted is None:
            continue
        taken = ""
        for place, letter in enumerate(match[0]):
            taken += letter.strip()
            if len(taken) == wanted:
                end = match.start() + place + 1
                if is_iban(taken) and not text[end : end + 1].isalnum():
                    yield match.start(), end
                break


def is_iban(letters: str) -> bool:
    """Return whether the check digits of an IBAN are right."""
    return int("".join(str(int(c, 36)) for c in letters[4:] + letters[:4])) % 97 == 1


def phones(text: str, region: str = "") -> Iterator[tuple[int, int]]:
    """Yield where phone numbers stand that their country gives out, and those that are written as in North America."""
    if (("+" in text or "＋" in text) and WITH_COUNTRY.search(text)) or (region and PHONE_LIKE.search(text)):
        import phonenumbers

        for number in phonenumbers.PhoneNumberMatcher(text, region or None, leniency=phonenumbers.Leniency.VALID):
            yield number.start, number.end
    if DIGITS.search(text):
        for match in AMERICAN.finditer(text):
            digits = [c for c in match[0] if c.isdigit()]
            if min(digits[-10], digits[-7]) > "1":  # no area and no exchange begins with 0 or 1
                yield match.span()


def regions() -> frozenset[str]:
    """Return the countries whose phone numbers are known: GB, DE …"""
    import phonenumbers

    return frozenset(phonenumbers.SUPPORTED_REGIONS)


# What comes first wins where two overlap.
NUMBERED = ("iban", "card", "phone")
LOOKS: dict[str, Callable[[str], Iterator[tuple[int, int]]]] = {
    "key": keys, "email": emails, "iban": ibans, "card": cards, "ip": addresses, "phone": phones,
}  # fmt: skip
