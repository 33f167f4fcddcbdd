"""How the class's scoreboard looks in a browser."""

import html

from blendkit.figures.style import COLOURS
from blendkit.lessons.scoreboard import COLUMNS, said
from blendkit.widgets.answers import tally_line

WIDE, MOST = 180, 60  # of the chart: pixels, and % that are at its end
CSS = f"""
:root {{ color-scheme: light dark; --ground: #fff; --text: #1a1a1a; --faint: #5a5a5a; --line: #d8d8d8; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #14171a; --text: #eee; --faint: #aab2b8; --line: #3a4046; }}
}}
body {{ margin: 16px 28px; background: var(--ground); color: var(--text); font: 16px/1.35 system-ui, sans-serif; }}
h1 {{ margin: 0; font-size: 30px; }}
p {{ margin: 4px 0 10px; color: var(--faint); overflow-wrap: anywhere; }}
p.game {{ color: var(--text); font-size: 20px; }}
code {{ color: var(--text); }}
table {{ border-collapse: collapse; width: 100%; }}
th {{ text-align: left; font-weight: 600; font-size: 14px; vertical-align: bottom; }}
th, td {{ padding: 1px 12px 1px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }}
td.text {{ max-width: 150px; overflow: hidden; text-overflow: ellipsis; }}
td.main {{ font-weight: 600; font-size: 18px; }}
svg {{ display: block; }}
text {{ fill: var(--faint); font-size: 13px; }}
.central {{ fill: {COLOURS["central"]}; stroke: {COLOURS["central"]}; }}
.companion {{ fill: {COLOURS["companion"]}; stroke: {COLOURS["companion"]}; }}
line {{ stroke-width: 3; }}
line.grid {{ stroke: var(--line); stroke-width: 1; }}
b.central, b.companion {{ font-size: 20px; }}
b.central {{ color: {COLOURS["central"]}; }}
b.companion {{ color: {COLOURS["companion"]}; }}
"""
HEADS = {
    "median": "median (%)", "failed": "missed (%)", "within": "in 1 σ (%)",
    "seconds": "s / blend", "tries": "tries", "time": "time",
}  # fmt: skip


def page(board, address):
    """The scoreboard as HTML."""
    rows = "".join(f"<tr>{_row(row)}</tr>" for row in board["rows"])
    heads = "".join(f'<th scope="col" title="{html.escape(COLUMNS[k][1])}">{head}</th>' for k, head in HEADS.items())
    ticks = "".join(f'<text x="{_at(x) - 4}" y="13">{x}</text>' for x in range(0, MOST + 1, 10))
    chart = f'<svg width="{WIDE + 24}" height="16">{ticks}</svg>'
    legend = '<b class="central">●</b> central <b class="companion">■</b> companion'
    game = f'<p class="game">Guess game · {html.escape(tally_line(board["guesses"], "the class"))}</p>'
    empty = "<p>Nobody has handed in anything yet.</p>"
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10">
<meta name="viewport" content="width=device-width"><title>Class scoreboard</title>
<link rel="stylesheet" href="/style.css"></head><body><h1>Class scoreboard</h1>
<p>{len(board["rows"])} methods on the same blends. Hand in yours:
<code>bk.submit("your name", your_method, to="{html.escape(address)}")</code></p>
{game if board["guesses"] else ""}{"" if rows else empty}
<table><thead><tr><th scope="col">#</th><th scope="col">name</th><th scope="col">method</th>
<th scope="col">mean error (%)</th><th scope="col">{legend}{chart}</th>{heads}</tr></thead>
<tbody>{rows}</tbody></table></body></html>"""


def _row(row):
    texts = "".join(f'<td class="text">{html.escape(row[key])}</td>' for key in ("name", "method"))
    cells = "".join(f"<td>{html.escape(said(row, key))}</td>" for key in HEADS)
    marks = "".join(f'<line class="grid" x1="{_at(x)}" x2="{_at(x)}" y1="0" y2="26"/>' for x in range(0, MOST + 1, 10))
    for key, y in (("central", 8), ("companion", 18)):
        value, error = row[key], row[f"{key}_err"]
        marks += f'<line class="{key}" x1="{_at(value - error)}" x2="{_at(value + error)}" y1="{y}" y2="{y}"/>'
        shapes = {"central": 'circle cx="{x}" cy="8" r="5"', "companion": 'rect x="{x}" y="14" width="8" height="8"'}
        marks += f'<{shapes[key].format(x=_at(value) - 4 * (key == "companion"))} class="{key}"/>'
    said_by = ", ".join(f"{key} {said(row, key)} %" for key in ("central", "companion"))
    chart = f'<svg role="img" aria-label="{said_by}" width="{WIDE + 24}" height="26">{marks}</svg>'
    error = f'<td class="main">{html.escape(said(row, "error"))}</td>'
    return f"<td>{row['rank']}</td>{texts}{error}<td>{chart}</td>{cells}"


def _at(percent):
    return round(6 + WIDE * min(max(percent, 0), MOST) / MOST, 1)
