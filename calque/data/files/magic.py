"""Recognise a file that is not UTF-8 text (an archive, a binary table, another encoding) by its first bytes."""

import re
import unicodedata

# Beginnings that no text has.
_BINARY = {
    b"PK\x03\x04": "a zip archive (or an office document): unpack it, or save it as TSV",
    b"PK\x05\x06": "an empty zip archive",
    b"\xfd7zXZ": "compressed with xz: unpack it with unxz, or compress it with gzip instead",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it with unzstd, or compress it with gzip instead",
    b"\x04\x22\x4d\x18": "compressed with lz4: unpack it with unlz4, or compress it with gzip instead",
    b"\x1f\x9d": "compressed with compress: unpack it with uncompress, or compress it with gzip instead",
    b"\x1f\x8b": "compressed with gzip twice: unpack it once with gunzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"\xd0\xcf\x11\xe0": "an office document: save it as TSV in UTF-8",
    b"%PDF-": "a PDF document: extract its text first",
    b"{\\rtf": "an RTF document: save it as plain text in UTF-8",
    b"SQLite format 3\0": "an SQLite database: export the table as CSV",
    b"\x89HDF": "an HDF5 file: write its texts as TSV or JSON Lines",
    b"\x93NUMPY": "a NumPy array: write its texts as TSV or JSON Lines",
}
# Beginnings that a text may have too: the rest must be binary.
_MAYBE = {
    b"BZh": "compressed with bzip2: unpack it with bunzip2, or compress it with gzip instead",
    b"Rar!": "a RAR archive: unpack it",
    b"LZIP": "compressed with lzip: unpack it, or compress it with gzip instead",
    b"PAR1": "a Parquet table: convert it with pandas.read_parquet(FILE).to_json(OUT, orient='records', lines=True)",
    b"ARROW1": "an Arrow table: convert it with pandas.read_feather(FILE).to_json(OUT, orient='records', lines=True)",
    b"FEA1": "a Feather table: convert it with pandas.read_feather(FILE).to_json(OUT, orient='records', lines=True)",
    b"ORC": "an ORC table: convert it with pandas.read_orc(FILE).to_json(OUT, orient='records', lines=True)",
    b"Obj\x01": "an Avro file: convert it to JSON Lines",
}
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_TAR, _TAR_PLACE = b"ustar", 257
# The mark of UTF-32 begins with that of UTF-16, so it comes first.
_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_WIDE = {"utf-32-le": "UTF-32LE", "utf-32-be": "UTF-32BE", "utf-16-le": "UTF-16LE", "utf-16-be": "UTF-16BE"}
_ESCAPES = {
    b"\x1b$)C": "ISO-2022-KR",
    b"\x1b$)A": "ISO-2022-CN",
    b"\x1b$)G": "ISO-2022-CN",
    b"\x1b$B": "ISO-2022-JP",
    b"\x1b$@": "ISO-2022-JP",
    b"\x1b(J": "ISO-2022-JP",
}
_UTF7_MARK = re.compile(rb"\+/v[89+/]")
_UTF7_RUN = re.compile(rb"\+[A-Za-z0-9+/]{3,}-?")
_ENOUGH_RUNS, _MOST_SCRIPTS = 3, 3


def kind_of(head: bytes) -> str | None:
    """Return the kind of a file with these first bytes and advice, or None if it may be text."""
    for magic, advice in _BINARY.items():
        if head.startswith(magic):
            return advice
    if _PICKLE.match(head):
        return "a Python pickle, which calque never opens: write its texts as TSV or JSON Lines"
    if head[_TAR_PLACE:].startswith(_TAR):
        return "a tar archive: unpack it"
    for magic, advice in _MAYBE.items():
        if head.startswith(magic) and (not _is_utf8(head) or re.search(rb"[\x00-\x08]", head)):
            return advice
    return None


def encoding_of(head: bytes) -> str | None:
    """Return the encoding of text other than UTF-8, by the name that iconv knows, or None."""
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    escaped = next((name for escape, name in _ESCAPES.items() if escape in head), None) if b"\x1b" in head else None
    return marked or _wide_encoding(head) or escaped or ("UTF-7" if _is_utf7(head) else None)


def likely_encoding(raw: bytes) -> str:
    """Guess the encoding of a line that is not UTF-8: Chinese if its bytes pair up, else Western European."""
    try:
        characters = raw.decode("gb2312")
    except UnicodeDecodeError:
        return "WINDOWS-1252"
    # Two neighbouring accented letters also decode to a Chinese character.
    return "GB18030" if sum("\u4e00" <= character <= "\u9fff" for character in characters) > 2 else "WINDOWS-1252"


def _wide_encoding(head: bytes) -> str | None:
    """Return the encoding of text in units of two or four bytes without a mark, or None."""
    nuls = head.count(0)
    if not nuls:
        return None
    for codec, name in _WIDE.items():
        unit = 4 if "32" in codec else 2
        try:
            text = head[: len(head) // unit * unit].decode(codec)
        except UnicodeDecodeError as error:
            # A surrogate pair may be cut where the head ends.
            text = head[: error.start].decode(codec) if error.start >= len(head) - 4 else "\0"
        # UTF-8 with NULs also decodes as UTF-16, but to text without spaces, or with few of the line ends.
        if (
            "\0" not in text
            and any(space in text for space in " \t\n")
            and 2 * text.count("\n") >= head.count(b"\n")
            and (5 * nuls >= len(head) or not _is_utf8(head))
        ):
            return name
    return None


def _is_utf7(head: bytes) -> bool:
    """Return whether these bytes are UTF-7: with its mark, or with runs that all decode to letters of few scripts."""
    if not head.isascii() or b"+" not in head:
        return False
    if _UTF7_MARK.match(head):
        return True
    whole = head[: head.rfind(b"\n") + 1] or head
    if len(_UTF7_RUN.findall(whole)) < _ENOUGH_RUNS:
        return False
    try:
        decoded = {character for character in whole.decode("utf-7") if not character.isascii()}
    except UnicodeDecodeError:
        return False
    if not decoded or any(unicodedata.category(character)[0] not in "LMPNZ" for character in decoded):
        return False
    letters = {character for character in decoded if unicodedata.category(character)[0] == "L"}
    return 0 < len({unicodedata.name(letter, "").split(" ")[0] for letter in letters}) <= _MOST_SCRIPTS


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 4
    return True
