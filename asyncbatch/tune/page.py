"""The page: the report as one HTML file that loads nothing, for light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .report import CHART, Code, Part, Section, Table

__all__ = ("as_page",)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #d8dde3; --wash: #f3f5f7; --accent: #0a66c2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7ec; --paper: #14171b; --faint: #333a43; --wash: #1d2228; --accent: #6cb1ff; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
body { margin: 2rem auto; padding: 0 1rem; max-width: 62rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 2px solid var(--accent); }
p { max-width: 48rem; margin: .7rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; }
tr.chosen { background: var(--wash); font-weight: 600; }
pre { background: var(--wash); border-left: 3px solid var(--accent); padding: .8rem 1rem; overflow-x: auto; }
pre, code { font-family: ui-monospace, monospace; font-size: .9em; }
svg { width: 100%; min-width: 46rem; height: auto; }
"""


def as_page(title: str, sections: Sequence[Section], chart: str = "") -> str:
    """Return the whole page; `chart` is an SVG."""
    body = "\n".join(
        f"<h2>{escape(each.title)}</h2>\n" + "\n".join(_part(part, chart) for part in each.parts) for each in sections
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n"
    )


def _part(part: Part, chart: str) -> str:
    if part is CHART:
        return f'<div class="scroll">{chart}</div>'
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Code):
        return f"<pre>{escape(part.text)}</pre>"
    sentence = escape(str(part)).split("`")  # every second one is code
    return f"<p>{''.join(f'<code>{each}</code>' if place % 2 else each for place, each in enumerate(sentence))}</p>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "\n".join(
        f"<tr{' class=chosen' if row[0].endswith('*') else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in table.rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>\n{rows}\n</table></div>'
