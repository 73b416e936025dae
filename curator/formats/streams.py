"""A file as bytes and as text: gzip and zstd unpacked up to a limit, the encoding found or as it was named."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO

from curator import settings
from curator.errors import UserError
from curator.formats.records import MAX_RECORD_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 2**20
PACKINGS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
# UTF-32 before UTF-16: its mark begins with that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What begins like this is no text of pairs, and the user is told what it is.
SIGNATURES = (
    (rb"\x1f\x8b", "is compressed twice. Unpack it first with: gunzip {name}"),
    (rb"\x28\xb5\x2f\xfd", "is compressed twice. Unpack it first with: unzstd {name}"),
    (rb"BZh", "is compressed with bzip2. Unpack it first with: bunzip2 {name}"),
    (rb"\xfd7zXZ\0", "is compressed with xz. Unpack it first with: unxz {name}"),
    (rb"PK\x03\x04(?:.*?PK\x03\x04)?.{26}xl/", "is an Excel workbook. Save its sheet as CSV UTF-8, and import that."),
    (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "is a LibreOffice document. Save it as CSV, and import that."),
    (rb"PK\x03\x04", "is a zip archive. Unpack it first with: unzip {name}"),
    (rb"\xd0\xcf\x11\xe0", "is an old Excel workbook. Save its sheet as CSV UTF-8, and import that."),
    (rb"SQLite format 3\0", "is an SQLite database. Export its rows as CSV or JSON lines first."),
    (rb"%PDF-", "is a PDF. Copy its questions and answers into a sheet, and import that as CSV."),
    (rb"version https://git-lfs", "only says where Git LFS keeps the file. Fetch the file itself with: git lfs pull"),
    (rb"\s*<(?:!doctype html|html)", "is a web page, perhaps saved in place of the file. Download the file again."),
)
SPOKEN = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 with a byte order mark",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
    "utf-32": "UTF-32",
    "cp1252": "Windows-1252",
    "iso8859-1": "Latin-1",
}
# What the files of spreadsheets are written in where it is not Unicode, by how common it is.
LEGACY = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "cp932", "euc_jp"]
LEGACY += ["gb18030", "big5", "cp949", "mac_roman", "cp437", "cp850", "cp866"]
SAMPLE_BYTES = 2**16
CONTROLS = bytes((*range(0, 9), *range(14, 27), *range(28, 32)))  # no text holds them
FEW_BYTES = 8  # fewer bytes beyond ASCII tell no language; Windows-1252 is then the likeliest by far


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file, and how its bytes become text."""

    path: Path
    name: str  # what to call it
    packing: str = ""  # "gzip", "zstd" or none
    encoding: str = ""
    is_damaged: bool = False  # it holds bytes that its encoding has no character for
    opened: list[IO[bytes]] = field(default_factory=list, compare=False, repr=False)  # the one read at present

    @property
    def spoken(self) -> str:
        """The encoding as a person says it."""
        return SPOKEN.get(self.encoding) or self.encoding.upper().replace("CP125", "Windows-125").replace("_", "-")

    def __str__(self) -> str:
        return self.spoken + (f", {self.packing}" if self.packing else "")

    def open_bytes(self) -> IO[bytes]:
        """Open the file, unpacked. Reading raises UserError where it is cut short or expands beyond the limit."""
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise UserError(f"{self.name} can't be read: {error.strerror}. Check who may read it.") from error
        self.opened[:] = [file]
        if self.packing == "gzip":
            return io.BufferedReader(Unpacked(gzip.GzipFile(fileobj=file), file, self.name), CHUNK_BYTES)
        if self.packing == "zstd":
            # zstandard's own reader takes a file that is cut short for a whole one; that of Arrow tells.
            import pyarrow

            return io.BufferedReader(
                Unpacked(pyarrow.CompressedInputStream(file, "zstd"), file, self.name), CHUNK_BYTES
            )
        return file

    def estimate(self, records: int) -> int | None:
        """Return about how many records there are, by the share of the bytes that the first `records` took."""
        file, size = self.opened[0] if self.opened else None, self.path.stat().st_size
        if file is None or not records or not size:
            return None
        share = 1 if file.closed else file.tell() / size
        return max(records, round(records / share)) if share else None

    def open_text(self, newline: str | None = "") -> TextIO:
        """Open the file as text, its line ends kept as they are; a byte that is no character stays one of ours."""
        # Windows-1252 leaves five bytes undefined; such a byte is kept as the control character of Latin-1.
        errors = "latin1" if self.encoding == "cp1252" else "keep_byte"
        return io.TextIOWrapper(self.open_bytes(), self.encoding, errors, newline)

    def lines(self) -> Iterator[str]:
        """Yield the lines with their ends. Raises UserError at a line that is too long to be one."""
        with self.open_text() as file:
            number = 0
            while line := file.readline(MAX_RECORD_BYTES):
                number += 1
                if len(line) == MAX_RECORD_BYTES:
                    raise UserError(
                        f"{self.name} line {number} is longer than {MAX_RECORD_BYTES // 2**20} MB. "
                        "Write one record a line."
                    )
                yield line


class Unpacked(io.RawIOBase):
    """The expanded bytes of a compressed file, up to the limit: a bomb is refused before it fills anything."""

    def __init__(self, expanded: gzip.GzipFile | IO[bytes], packed: IO[bytes], name: str) -> None:
        self.expanded, self.packed, self.name = expanded, packed, name
        self.limit_mib = int(settings.load()["CURATOR_MAX_EXPANDED"])
        self.left = self.limit_mib * 2**20

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self.expanded.read(len(view))
        except (EOFError, OSError, zlib.error) as error:
            what = "is cut short" if isinstance(error, EOFError) or "runcated" in str(error) else "is damaged"
            raise UserError(f"{self.name} {what}: it can't be unpacked. Fetch or pack it again.") from error
        self.left -= len(data)
        if self.left < 0:
            raise UserError(
                f"{self.name} expands to more than {self.limit_mib:,} MiB. "
                "If you trust it, raise CURATOR_MAX_EXPANDED, or unpack and split it."
            )
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.expanded.close()
        self.packed.close()
        super().close()


def find(path: Path | str, name: str | None = None) -> Source:
    """Return the file at a path, and how it is compressed. Raises UserError where there is no file to read."""
    path = Path(path)
    name = name or path.name or str(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise UserError(f"{name} can't be read: {error.strerror}. Check who may read it.") from error
        raise UserError(f"There is no file {shorten_path(name)}. Check the name and the folder.") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{name} is a folder. Name the files in it, as in: flask import {name}/*.csv")
    if not stat.S_ISREG(mode):
        # Opening a pipe would wait for a writer, perhaps for ever; and a file is read more than once.
        raise UserError(f"{name} is a pipe or a device, not a file. Save it to a file first.")
    source = Source(path, name)
    with source.open_bytes() as file:
        first = read_chunk(file, source)
    return replace(source, packing=next((packing for magic, packing in PACKINGS if first.startswith(magic)), ""))


def shorten_path(name: str) -> str:
    """Return a name that fits a message, its control characters made visible."""
    name = "".join(c if c.isprintable() else "�" for c in name)
    return name if len(name) <= 200 else name[:80] + "…" + name[-80:]


def read_chunk(file: IO[bytes], source: Source) -> bytes:
    """Read the next piece of a file, b"" at its end."""
    try:
        return file.read(CHUNK_BYTES)
    except OSError as error:
        raise UserError(f"{source.name} can't be read: {error.strerror}. Check who may read it.") from error


def chunks(source: Source) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces."""
    with source.open_bytes() as file:
        while chunk := read_chunk(file, source):
            yield chunk


def decode(source: Source, first: bytes, encoding: str | None = None) -> Source:
    """Return a source with the encoding that was named, or the one that is found.

    Found is what a byte order mark says, else UTF-16 by its zeros, else UTF-8 where all of the file is
    UTF-8 or most of what is beyond ASCII, else what is likeliest. The whole file is read, in pieces, so
    that a late byte is not missed and a bomb is met before anything else is done.
    """
    if encoding:
        return checked(replace(source, encoding=known_encoding(encoding, first)))
    mark = next((encoding for mark, encoding in BYTE_ORDER_MARKS if first.startswith(mark)), "")
    if mark or (mark := zeros_of_utf_16(first)):
        return checked(replace(source, encoding=mark))
    for signature, advice in SIGNATURES:
        if re.match(signature, first, re.DOTALL | re.IGNORECASE):
            raise UserError(f"{source.name} {advice.format(name=source.name)}")
    if first[257:262] == b"ustar":
        raise UserError(f"{source.name} is a tar archive. Unpack it first with: tar xf {source.name}")
    if looks_binary(first):
        raise UserError(
            f"{source.name} is not a text file: it is full of control characters. Import a CSV or JSON lines."
        )
    found = checked(replace(source, encoding="utf-8"))
    if not found.is_damaged:
        return found
    legacy = likeliest(source)
    return found if legacy == "utf-8" else checked(replace(source, encoding=legacy))


def known_encoding(encoding: str, first: bytes) -> str:
    """Return the name that Python has for an encoding. Raises UserError where it knows none for text."""
    try:
        codec = codecs.lookup(encoding.strip())
    except (LookupError, ValueError):
        codec = None
    # Python has codecs that are no encodings of text files: hex, rot13, idna.
    if codec is None or not codec._is_text_encoding or codec.name in ("idna", "punycode", "undefined"):
        raise UserError(
            f"There is no encoding {shorten_path(encoding)!r}. "
            "Name one as Python does: utf-8, utf-16, cp1252, latin-1, cp1251, shift_jis, gb18030 …"
        )
    return "utf-8-sig" if codec.name == "utf-8" and first.startswith(codecs.BOM_UTF8) else codec.name


def checked(source: Source) -> Source:
    """Return a source that knows whether its encoding has a character for all its bytes."""
    decoder = codecs.getincrementaldecoder(source.encoding)("latin1" if source.encoding == "cp1252" else "strict")
    try:
        for chunk in chunks(source):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:
        # The rest must be read too: a bomb is no smaller for a broken byte at its beginning.
        for _ in chunks(source) if source.packing else ():
            pass
        return replace(source, is_damaged=True)
    return source


def zeros_of_utf_16(first: bytes) -> str:
    """Return the UTF-16 of a text without a byte order mark: each Latin letter is a byte beside a zero."""
    sample = first[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < max(4, len(sample) / 8) or min(even, odd) > max(even, odd) / 8:
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def looks_binary(chunk: bytes) -> bool:
    """Return whether more than one byte in a hundred, and a few, is a control character that no text holds."""
    controls = len(chunk) - len(chunk.translate(None, CONTROLS))
    return controls > 4 + len(chunk) / 100


def likeliest(source: Source) -> str:
    """Return the encoding that fits a file best which is not all UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    valid = broken = 0
    sample = bytearray()
    for chunk in chunks(source):
        text = decoder.decode(chunk)
        if chunk.isascii():
            continue
        broken += len(re.findall("[\udc80-\udcff]", text))
        valid += len(re.findall("[^\0-\x7f\udc80-\udcff]", text))
        if len(sample) < SAMPLE_BYTES:
            sample += b"".join(line for line in chunk.splitlines(keepends=True) if not line.isascii())
    # In another encoding, bytes that happen to be valid UTF-8 are rare; here they are most.
    if valid > broken:
        return "utf-8"
    if sum(byte > 127 for byte in sample) < FEW_BYTES:
        return "cp1252"
    from charset_normalizer import from_bytes

    matches = list(from_bytes(bytes(sample[:SAMPLE_BYTES]), cp_isolation=LEGACY, preemptive_behaviour=False))
    if not matches:
        return "cp1252"
    close = (match for match in matches if match.chaos <= matches[0].chaos + 0.06)
    if any("cp1252" in match.could_be_from_charset for match in close):
        return "cp1252"
    return matches[0].encoding


def _keep_byte(error: UnicodeError) -> tuple[str, int]:
    """Decode each byte that is no character as U+DC00 plus the byte; `records.broken_bytes` finds them."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


def _latin1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("keep_byte", _keep_byte)
codecs.register_error("latin1", _latin1)
