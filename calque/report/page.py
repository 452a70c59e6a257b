"""The HTML skeleton and style of all pages, and the escaping of their text.

Pages are well-formed XML, load no other files, and follow the reader's light or dark setting.
"""

import html
import unicodedata
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1e2124; --muted: #676d74; --line: #dfe2e6;
  --soft: #f3f4f3; --first: #1f66b0; --second: #c4561a; --heat: #14508f; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e7e7e3; --muted: #9ba2a9; --line: #353a40;
  --soft: #1e2125; --first: #79b4f2; --second: #f3a469; --heat: #8cc2ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .7rem; }
p { margin: 0 0 1rem; max-width: 46rem; overflow-wrap: anywhere; }
.muted, figcaption, th { color: var(--muted); }
table { border-collapse: collapse; width: 100%; font-size: .94rem; }
th, td { text-align: start; vertical-align: top; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
/* Beside a long text a column keeps some width; where all do not fit, the table scrolls in its own box. */
th, td { min-width: 7rem; }
th { font-weight: 500; overflow-wrap: break-word; }
td .long { max-height: 15rem; overflow-y: auto; }
table.facts { width: auto; } table.facts th { padding-inline-end: 1.6rem; overflow-wrap: anywhere; }
@media (min-width: 40rem) { table.facts th { min-width: 12rem; } }
table.facts td { font-variant-numeric: tabular-nums; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1.2rem 2rem; }
.grid > * { min-width: 0; } .grid + p { margin-top: 1rem; }
.scroll { overflow-x: auto; }
figure { margin: 0; } figcaption { font-size: .9rem; margin-bottom: .3rem; }
figcaption b { color: var(--ink); font-weight: 600; margin-inline-end: .9rem; }
.key { display: inline-block; width: 1.1em; height: .2em; vertical-align: .25em; margin: 0 .35em 0 .7em; }
.name { display: inline-block; } .key.first { background: var(--first); } .key.second { background: var(--second); }
details { margin: .5rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
svg { display: block; font-family: inherit; } svg.chart { width: 100%; height: auto; }
svg text { fill: var(--ink); } svg .tick { fill: var(--muted); font-size: 13px; }
svg .rule { stroke: var(--line); stroke-width: 1; }
svg path { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg path.first { stroke: var(--first); } svg path.second { stroke: var(--second); }
svg circle { stroke: var(--paper); stroke-width: 1.5; }
svg circle.first { fill: var(--first); } svg circle.second { fill: var(--second); }
svg circle.ring { fill: none; stroke: var(--ink); }
svg .ground { fill: var(--soft); } svg .cell { fill: var(--heat); } svg .cell:hover { stroke: var(--ink); }
svg .missing { fill: none; stroke: var(--muted); stroke-dasharray: 2 2; }
"""

# Characters that a cell of a table shows without scrolling.
LONG_TEXT = 600

# Nothing may be loaded or run, even if an escape is missing somewhere.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def printable(text: object) -> str:
    """Return `text` as one line: breaks and tabs become spaces, other control characters and surrogates U+FFFD.

    Data may contain terminal escapes and characters that XML forbids; neither may reach a screen or a page.
    """
    return "".join(_printable_character(character) for character in str(text))


def escape(text: object) -> str:
    """Return `text` printable, and safe in an element or a quoted attribute."""
    return html.escape(printable(text), quote=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of escaped cells, each with the writing direction of its own text; very long ones scroll."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def facts_table(facts: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values, escaped."""
    rows = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n' for name, value in facts)
    return f'<table class="facts"><tbody>{"".join(rows)}</tbody></table>'


def section(heading: str, body: str) -> str:
    """Return a section under an escaped heading; `body` is markup already."""
    return f"<section><h2>{escape(heading)}</h2>\n{body}\n</section>\n"


def document(title: str, lead: str, body: str) -> str:
    """Return the whole page: `title` and `lead` are text and escaped, `body` is markup already."""
    lead_markup = f'<p class="muted" dir="auto">{escape(lead)}</p>' if lead else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}"/>
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1 dir="auto">{escape(title)}</h1>
{lead_markup}
{body}
</body>
</html>
"""


def _cell(content: object) -> str:
    text = escape(content)
    if len(text) > LONG_TEXT:
        # It takes the focus, so that the arrow keys scroll it.
        text = f'<div class="long" tabindex="0">{text}</div>'
    return f'<td dir="auto">{text}</td>'


def _printable_character(character: str) -> str:
    if character == " " or character.isprintable():
        return character
    category = unicodedata.category(character)
    if character in "\t\n\r" or category.startswith("Z"):
        return " "
    # Cf holds joiners that Persian and emoji need; Cn and Co are merely unknown to us. U+FFFE and U+FFFF are not XML.
    harmful = category in ("Cc", "Cs") or ord(character) & 0xFFFE == 0xFFFE
    return "�" if harmful else character
