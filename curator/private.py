"""What in a text should not leave the house: e-mail, phone, card, IP, IBAN, keys. Knows one string, no rule for it."""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

KINDS = {
    "email": "e-mail address", "phone": "phone number", "card": "card number", "ip": "IP address", "iban": "IBAN",
    "key": "key or password",
}  # fmt: skip
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-zA-Z]{2,24}(?![\w-])")
# Names that documents use for nobody (RFC 2606), and what people write for "your address".
NOBODYS = re.compile(
    r"@(?:.*\.)?(?:[\w-]*example[\w-]*\.\w+|example|test|invalid|localhost|(?:email|domain|mail|yourdomain|company|yourcompany)\.\w+)$",
    re.IGNORECASE,
)
PHONE = re.compile(
    r"(?<![\w.+/=#$€£-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,12}"
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4})(?![\w-]|\.\d|[ .-]\d)"
)
CARD = re.compile(r"(?<![\w.,-])[2-6]\d{3}(?:(?: \d{4}){3}|(?:-\d{4}){3}|\d{9,15}| \d{6} \d{5})(?![\w-]|[.,]\d)")
NUMBER = re.compile(r"\d[ \d.()-]{6}")
FOURS = re.compile(r"\d{4}[ -]?\d{4}|\d{4} \d{6}")
DIGITS = re.compile(r"\d{3}\)?[ .-]\d{3}[ .-]\d{4}|\+\d")
ADDRESS = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)")
KEY = re.compile(
    r"(?<![\w-])(?:sk-(?:ant-|proj-)?[\w-]{20,}|gh[pousr]_\w{30,}|github_pat_\w{40,}|glpat-[\w-]{20,}"
    r"|xox[abeprs]-[\w-]{10,}|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{35}|hf_[a-zA-Z]{30,}|npm_\w{36}|pypi-AgE[\w-]{20,}"
    r"|[rs]k_live_\w{20,}|SG\.[\w-]{20,}\.[\w-]{20,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
    r"|-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----|(?<=://)[^\s/:@]{1,64}:[^\s/:@]{3,64}(?=@[\w.-])"
)
NAMED = re.compile(
    r"(?:password|passwd|secret|api[ _-]?key|access[ _-]?key|access[ _-]?token|auth[ _-]?token)"
    r"[\"']?\s{0,3}(?:[:=]|is)\s{0,3}[\"']?([^\s\"'<>(){}\[\],;]{8,200})",
    re.IGNORECASE,
)
CALLED = re.compile("[Pp]assw|PASSW|[Ss]ecret|SECRET|[Kk]ey|KEY|[Tt]oken|TOKEN")
PLACEHOLDER = re.compile(
    r"x{4}|\*{3}|\.{3}|your|example|changeme|placeholder|1234567|abcdefg|dummy|_here", re.IGNORECASE
)
LEAST_BITS = 3.0  # of entropy a character, of what is called a password: words have less, or no digit


class Span(NamedTuple):
    """Where something private stands in a text."""

    start: int
    end: int
    kind: str  # a key of KINDS


def find_private(text: str) -> list[Span]:
    """Return what is private in a text, in reading order, nothing twice. Checksums are counted where there are any."""
    found: list[Span] = []
    # Most texts hold no number as long as any of these: one look for it spares four.
    for look in LOOKS if NUMBER.search(text) else WITHOUT_NUMBERS:
        for span in look(text):
            if not any(span.start < other.end and other.start < span.end for other in found):
                found.append(span)
    return sorted(found)


def keys(text: str) -> Iterator[Span]:
    """Yield keys of known makers, keys in PEM, and what stands behind the word password and looks like one."""
    if "-" in text or "_" in text or "://" in text or "IA" in text or "eyJ" in text:
        for match in KEY.finditer(text):
            if not PLACEHOLDER.search(match[0]):
                yield Span(match.start(), match.end(), "key")
    if not CALLED.search(text):
        return
    for match in NAMED.finditer(text):
        word = match[1].rstrip(".!?")
        is_mixed = any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
        if is_mixed and not PLACEHOLDER.search(word) and entropy(word) >= LEAST_BITS:
            yield Span(match.start(1), match.start(1) + len(word), "key")


def entropy(word: str) -> float:
    """Return how many bits a character of a word carries, by how often each occurs in it."""
    return -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())


def emails(text: str) -> Iterator[Span]:
    """Yield e-mail addresses that may be somebody's."""
    if "@" in text:
        for match in EMAIL.finditer(text):
            if not NOBODYS.search(match[0]):
                yield Span(match.start(), match.end(), "email")


def cards(text: str) -> Iterator[Span]:
    """Yield card numbers whose last digit is that of Luhn's sum."""
    if not FOURS.search(text):
        return
    for match in CARD.finditer(text):
        digits = [int(c) for c in match[0] if c.isdigit()]
        if 13 <= len(digits) <= 19 and luhn(digits) and len(set(digits)) > 2:
            yield Span(match.start(), match.end(), "card")


def luhn(digits: list[int]) -> bool:
    """Return whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    doubled = (2 * d - 9 if d > 4 else 2 * d for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def ibans(text: str) -> Iterator[Span]:
    """Yield IBANs whose check digits are right (ISO 13616)."""
    for match in IBAN.finditer(text):
        letters = match[0].replace(" ", "")
        if 15 <= len(letters) <= 34:
            turned = letters[4:] + letters[:4]
            if int("".join(str(int(c, 36)) for c in turned)) % 97 == 1:
                yield Span(match.start(), match.end(), "iban")


def addresses(text: str) -> Iterator[Span]:
    """Yield IPv4 addresses of the public net: those of home networks and of documents name nobody."""
    if text.count(".") < 3:
        return
    for match in ADDRESS.finditer(text):
        try:
            address = ipaddress.IPv4Address(match[0])
        except ValueError:
            continue
        # 1.2.3.4 and 10.15.7.3 are versions as often as addresses.
        if address.is_global and not address.is_multicast and max(address.packed) > 20 and match[0] not in RESOLVERS:
            yield Span(match.start(), match.end(), "ip")


RESOLVERS = ("8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9", "208.67.222.222")


def phones(text: str) -> Iterator[Span]:
    """Yield phone numbers: with the sign of a country, or as they are written in North America."""
    if not DIGITS.search(text):
        return
    for match in PHONE.finditer(text):
        digits = [c for c in match[0] if c.isdigit()]
        if "+" not in match[0]:
            area, exchange = digits[-10:-7], digits[-7:-4]
            if min(area[0], exchange[0]) < "2" or exchange == ["5"] * 3 or area == ["5"] * 3:  # 555 is nobody's
                continue
        elif len(digits) < 8 or "".join(digits[-10:-4]).count("555"):
            continue
        if len(set(digits)) > 3 and "1234567" not in "".join(digits):
            yield Span(match.start(), match.end(), "phone")


# What comes first wins where two overlap.
LOOKS: tuple[Callable[[str], Iterator[Span]], ...] = (keys, emails, ibans, cards, addresses, phones)
WITHOUT_NUMBERS = LOOKS[:2]
