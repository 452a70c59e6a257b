"""Recognise a text file in a format that calque does not read by its first lines, so that it is not read as pairs."""

import re
from collections.abc import Sequence

_SEGMENTS = (
    """python -c "import html, re, sys; [print(html.unescape(' '.join(text.split()))) for text in"""
    """ re.findall('(?is)<seg[^>]*>(.*?)</seg>', sys.stdin.read())]" < FILE"""
)
_XML = re.compile(r"\s*<(\?xml|!doctype)\b", re.IGNORECASE)
# A line with only the tag of a corpus, or a title line of the IWSLT sets.
_CORPUS = re.compile(
    r"\s*(</?(srcset|refset|tstset|mteval|doc|hl|p|seg|tmx|tu|tuv|body|header|xliff|file|trans-unit|html|head|dataset|"
    r"corpus|chapter|speaker)\b[^>]*>\s*|<seg\b.*</seg>\s*|<url>.*</url>\s*|<tuv?\b.*</tuv?>\s*|<tmx\b.*)",
    re.IGNORECASE,
)
_TIME = re.compile(r"(\d+:)?\d\d:\d\d[,.]\d{3} --> ")
_DELIMITERS = {";": "semicolons", "|||": "|||", "|": "vertical bars", ",": "commas"}


def foreign_form(head: Sequence[str]) -> str | None:
    """Return the format of a file with these first lines and how to convert it, or None if it may be plain text."""
    first = head[0]
    is_markup = sum(bool(_CORPUS.fullmatch(line)) for line in head)
    is_corpus = bool(_CORPUS.fullmatch(first)) and (
        2 * is_markup > len(head) or first.lower().startswith(("<doc", "<url"))
    )
    if _XML.match(first) or is_corpus:
        if any(re.search(r"<(tmx|tuv?)\b", line, re.IGNORECASE) for line in head):
            convert = f"{_SEGMENTS} | paste - - > OUT"
            return f"a TMX file; if each unit has both languages in the same order, convert it with: {convert}"
        return f"XML or SGML; extract its segments, one per line, for example with: {_SEGMENTS} > OUT"
    if first.startswith("WEBVTT") or any(_TIME.match(line) for line in head):
        return "a subtitle file; write each text on one line, without numbers and times"
    if any(line.startswith('msgid "') for line in head):
        return "a gettext file (PO); write each msgid and its msgstr as one line of TSV, for example with po2csv"
    if first.strip() in ("{", "["):
        return (
            "one JSON document over several lines; write one object per line, for example with: jq -c '.[]' FILE > OUT"
        )
    return None


def separated_form(head: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the advice for values with a separator other than a tab or a comma, or None.

    The evidence is a first line of column names with that separator, or the same number of separators in each line.
    """
    declared = re.fullmatch(r"sep=(.)", head[0].strip())
    if declared:
        rest = f"tail -n +2 FILE > REST; {_to_csv(declared[1], 'REST')}"
        return f"CSV with a sep= line for a spreadsheet program; convert it with: {rest}"
    for delimiter, words in _DELIMITERS.items():
        counts = {line.count(delimiter) for line in head}
        named = set(names) <= {cell.strip(' "') for cell in head[0].split(delimiter)}
        if named or (len(head) > 1 and len(counts) == 1 and 0 not in counts):
            if len(delimiter) > 1:
                return f"separated by {words}; convert it with: sed 's/ *||| */\\t/g' FILE > OUT"
            if delimiter == ",":
                return "separated by commas; add a first line that names the columns: source,target"
            return f"separated by {words}; convert it with: {_to_csv(delimiter)}"
    return None


def _to_csv(delimiter: str, name: str = "FILE") -> str:
    program = f"import csv, sys; csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, delimiter='{delimiter}'))"
    return f'python -c "{program}" < {name} > OUT.csv'
