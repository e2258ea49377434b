"""What MkDocs needs besides: files outside docs/, and links that lead to them.

A link works on the site as it does in the clone: a file outside docs/ that some page links to is
part of the site, at its path below the root; pages of docs/ are there without that folder's name.
"""

from __future__ import annotations

import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
PAGES = (
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/RESULTS.md",
)
"""Pages outside docs/."""
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages and files outside docs/."""
    pages = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    wanted = set(PAGES)
    for page in [*pages, *PAGES]:
        for link in _LINK.finditer((ROOT / page).read_text(encoding="utf-8")):
            target = _target(link[1], page)
            found = ROOT / target
            if target.startswith("docs/"):
                continue
            if found.is_dir() and target:
                wanted |= {path.relative_to(ROOT).as_posix() for path in found.iterdir()}
            elif found.is_file():
                wanted.add(target)
    for path in sorted(wanted):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turns the clone's links into the site's."""
    path = page.file.src_uri
    here = f"docs/{path}" if (ROOT / "docs" / path).exists() else path

    def rewritten(link: re.Match[str]) -> str:
        target = _target(link[1], here)
        for name in (target, f"{target}/README.md"):
            on_site = name.removeprefix("docs/")
            if files.get_file_from_path(on_site) is not None:
                way = posixpath.relpath(on_site, posixpath.dirname(path) or ".")
                return f"]({way}{link[2] or ''})"
        return link[0]

    return _LINK.sub(rewritten, markdown)


def _target(link: str, page: str) -> str:
    """The path in the clone to which a page's link leads; "" where it leads out of it."""
    if "://" in link or link.startswith(("/", "mailto:")):
        return ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return "" if path.startswith("..") else path
