"""What the pages of an audit are made of: sections, tables, figures and rows of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medvae.audit._figures import Drawing
from medvae.audit._verdict import at, said
from medvae.overlays import head, safe

__all__ = ["Section", "drawing", "gallery", "numbers", "page", "paragraph", "table", "told"]

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #57606a; --page: #fff; --line: #d0d7de;
  --card: #f6f8fa; --green: #1a7f37; --amber: #9a6700; --red: #cf222e }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --quiet: #9aa4af; --page: #0d1117; --line: #30363d; --card: #161b22;
    --green: #3fb950; --amber: #d29922; --red: #f85149 }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; color: var(--text);
  background: var(--page); font: 15px/1.5 system-ui, sans-serif }
h1 { margin: 0 0 .25rem; font-size: 1.6rem }
h2 { margin: 2.5rem 0 .5rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line);
  font-size: 1.2rem }
h3 { margin: 1.5rem 0 .4rem; font-size: 1rem }
p { max-width: 48rem; margin: .5rem 0 }
a { color: inherit }
.summary, figcaption, caption { color: var(--quiet) }
.verdict { margin: 1rem 0; padding: .8rem 1rem; border-left: .4rem solid var(--line);
  background: var(--card) }
.verdict p { font-size: 1.05rem }
.green { --mark: var(--green) } .amber { --mark: var(--amber) } .red { --mark: var(--red) }
.verdict.green, .verdict.amber, .verdict.red { border-color: var(--mark) }
strong.green, strong.amber, strong.red { color: var(--mark); white-space: nowrap }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none }
.scroll { overflow-x: auto }
table { border-collapse: collapse; margin: .8rem 0; font-size: .9rem;
  font-variant-numeric: tabular-nums }
caption { text-align: left; padding-bottom: .3rem; font-size: .85rem }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
th { font-weight: 600 }
th small { display: block; color: var(--quiet); font-weight: normal }
td { white-space: nowrap }
th[scope=row] { min-width: 10rem }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr));
  gap: 1.2rem; align-items: start }
figure { margin: 0; break-inside: avoid }
section > figure { margin-top: 1rem }
figure > img { display: block; width: 100%; height: auto }
figcaption { padding-top: .3rem; font-size: .8rem; overflow-wrap: anywhere }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1.2rem }
.strip { display: flex; gap: .4rem }
.strip > div { flex: 1; min-width: 0; font-size: .75rem; color: var(--quiet); text-align: center }
.picture { position: relative; background: #000 }
.picture img { display: block; width: 100%; height: auto }
.picture svg { position: absolute; inset: 0; width: 100%; height: 100%; fill: none;
  stroke-width: 1.5 }
svg * { vector-effect: non-scaling-stroke }
:focus-visible { outline: 3px solid #2f81f7; outline-offset: 2px }
@media (max-width: 30rem) { .figures { grid-template-columns: 1fr } }
@media print {
  body { padding: 0; max-width: none; font-size: 10pt; print-color-adjust: exact;
    -webkit-print-color-adjust: exact }
  nav { display: none }
  h2, h3 { break-after: avoid }
  .scroll { overflow: visible }
  td { white-space: normal }
  th[scope=row] { min-width: 0 }
  .figures { grid-template-columns: repeat(2, 1fr) }
  .pairs { grid-template-columns: repeat(3, 1fr) }
}
"""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: its name in links.
        title: of it.
        parts: HTML.
    """

    anchor: str
    title: str
    parts: tuple[str, ...]

    @property
    def html(self) -> str:
        """The whole section."""
        name = f"{self.anchor}-title"
        return (
            f'<section id="{self.anchor}" aria-labelledby="{name}">'
            f'<h2 id="{name}">{safe(self.title)}</h2>\n{"".join(self.parts)}</section>\n'
        )


def page(title: str, summary: str, opening: str, sections: Sequence[Section]) -> str:
    """Make the page: it loads nothing and runs nothing.

    Args:
        title: of it.
        summary: a line below the title.
        opening: HTML before the sections.
        sections: in their order.
    """
    links = "".join(f'<li><a href="#{s.anchor}">{safe(s.title)}</a></li>' for s in sections)
    nav = f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n' if len(sections) > 1 else ""
    return f"""{head(title, _STYLE)}
<body>
<header>
<h1>{safe(title)}</h1>
<p class="summary">{safe(summary)}</p>
{nav}{opening}</header>
<main>
{"".join(section.html for section in sections)}</main>
</body>
</html>
"""


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{safe(text)}</p>\n"


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are HTML; the first of each row is its head."""
    heads = "".join(f'<th scope="col">{safe(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(_cell(cell) for cell in cells)}</tr>\n'
        for first, *cells in rows
    )
    # What scrolls must be reached by the keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(caption)}"><table>'
        f"<caption>{safe(caption)}</caption><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>\n"
    )


def _cell(html: str) -> str:
    return html if html.startswith("<td") else f"<td>{html}</td>"


def told(report: Mapping[str, Any], path: str) -> str:
    """Return a cell with a number of the report, which says where it is there."""
    return f'<td data-report="{safe(path)}">{safe(said(at(report, path)))}</td>'


def numbers(
    report: Mapping[str, Any], caption: str, rows: Mapping[str, str], what: str = "measure"
) -> str:
    """Return a table of estimates beside their baselines.

    Args:
        report: which holds them.
        caption: of the table.
        rows: the path of each by its name; those that are not in the report are left out.
        what: they are.
    """
    return table(
        caption,
        (what, "synthetic against real", "real against real"),
        [
            (safe(name), told(report, path), told(report, f"{path}.baseline"))
            for name, path in rows.items()
            if at(report, path) is not None
        ],
    )


def drawing(figure: Drawing, alternative: str, caption: str = "") -> str:
    """Return a figure for the page."""
    below = f"<figcaption>{safe(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{figure.uri}" alt="{safe(alternative)}">{below}</figure>\n'


def gallery(kind: str, items: Iterable[str]) -> str:
    """Set figures beside one another."""
    return f'<div class="{kind}">{"".join(items)}</div>\n'
