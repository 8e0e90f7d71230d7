"""The matrix as a page of its own: tools down, roles across; nothing is loaded from anywhere, and it prints."""

from __future__ import annotations

from html import escape

from clinic_mcp.policy_tools.matrix import Matrix

_STYLE = """
:root { color-scheme: light dark; --text: #1c2024; --soft: #51585f; --page: #ffffff; --head: #eef2f5; --line: #b8c0c8;
  --yes: #e3f3e6; --yes-text: #12511f; }
@media (prefers-color-scheme: dark) { :root { --text: #e8eaed; --soft: #b4bac1; --page: #16191c; --head: #23282d;
  --line: #4a5158; --yes: #163a20; --yes-text: #b9e6c3; } }
body { margin: 2rem; background: var(--page); color: var(--text); font: 1rem/1.45 system-ui, sans-serif; }
h1 { margin: 0 0 .3rem; font-size: 1.5rem; }
p { max-width: 46rem; color: var(--soft); }
code { font: .8125rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 3px solid #1a6fd4; outline-offset: 2px; }
table { border-collapse: collapse; min-width: 60rem; width: 100%; }
caption { padding: .5rem 0; text-align: left; font-weight: 600; }
th, td { border: 1px solid var(--line); padding: .45rem .6rem; text-align: left; vertical-align: top; }
thead th { background: var(--head); }
tbody th[scope="rowgroup"] { background: var(--head); }
tbody th[scope="row"] { font-weight: 500; }
td.yes { background: var(--yes); color: var(--yes-text); }
td.no { color: var(--soft); text-align: center; }
td ul { margin: 0; padding: 0; list-style: none; }
td li + li { margin-top: .25rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root { --text: #000; --soft: #333; --page: #fff; --head: #eee; --line: #888; --yes: #fff; --yes-text: #000; }
  body { margin: 0; font-size: 8pt; } code { font-size: 7pt; } table { min-width: 0; } .scroll { overflow: visible; }
  thead { display: table-header-group; } tr { break-inside: avoid; }
}
"""


def page(matrix: Matrix, groups: dict[str, list[str]], digest: str) -> str:
    """The page's HTML.

    Args:
        matrix: Role → action → permits.
        groups: The actions by server, in the order they are shown.
        digest: The policy set's.
    """
    columns = "".join(f'<th scope="col">{escape(role)}</th>' for role in matrix)
    body = "".join(_group(name, actions, matrix) for name, actions in groups.items())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Who may call what</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        "<h1>Who may call what</h1>\n"
        "<p>Each cell names the policies that permit the call in <em>some</em> circumstances: a policy may ask for more"
        " than the role, and a forbid may still refuse. A dash means that nothing ever permits it.</p>\n"
        f"<p>Policy set <code>{escape(digest)}</code></p>\n"
        '<div class="scroll" role="region" aria-labelledby="matrix" tabindex="0">\n'
        '<table>\n<caption id="matrix">Tools by server, and the roles that may call them</caption>\n'
        f'<thead><tr><th scope="col">Tool</th>{columns}</tr></thead>\n{body}</table>\n'
        "</div>\n</main>\n</body>\n</html>\n"
    )


def _group(name: str, actions: list[str], matrix: Matrix) -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(action)}</code></th>'
        + "".join(_cell(row[action]) for row in matrix.values())
        + "</tr>\n"
        for action in actions
    )
    head = f'<tr><th scope="rowgroup" colspan="{len(matrix) + 1}">{escape(name)}</th></tr>\n'
    return f"<tbody>\n{head}{rows}</tbody>\n"


def _cell(permits: list[str]) -> str:
    if not permits:
        return '<td class="no"><span aria-hidden="true">–</span><span class="unseen">never</span></td>'
    items = "".join(f"<li><code>{escape(permit)}</code></li>" for permit in permits)
    return f'<td class="yes"><ul>{items}</ul></td>'
