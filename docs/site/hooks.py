"""What mkdocs cannot do by itself: pages and files that stand outside of docs/.

README, CHANGELOG, CONTRIBUTING, the page of the dbt package and the results of the benchmarks
become pages. A link to another file of the repository leads to a copy of it in the site, as text;
one to a directory, to the list of its files. So each link works offline, and the strict build finds
those that lead nowhere.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "dbt/README.md": "dbt.md",
    "benchmarks/RESULTS.md": "benchmark-results.md",
    "benchmarks/GROWTH.md": "benchmark-growth.md",
    "benchmarks/VERIFY.md": "benchmark-verify.md",
}

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<target>[^)\s#]+)")
_FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
# What follows the language says to a test where the block belongs.
_FENCE_NOTE = re.compile(r"^(```\w+) .*$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand beside docs/."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to pages and files of the site."""
    origin = {page_name: name for name, page_name in PAGES.items()}
    here = posixpath.dirname(origin.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def led(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(here, found["target"]))
        target = _place(path, config, files)
        start = posixpath.dirname(page.file.src_uri) or "."
        return posixpath.relpath(target, start) if target else found["target"]

    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(led, part) for part in parts[::2]]
    parts[1::2] = [_FENCE_NOTE.sub(r"\1", part) for part in parts[1::2]]
    return "".join(parts)


def _place(path: str, config: MkDocsConfig, files: Files) -> str | None:
    """Return where a file of the repository is in the site; None if there is none."""
    if path in PAGES:
        return PAGES[path]
    in_docs = path.removeprefix("docs/") if path.startswith("docs/") else ""
    if (file := files.get_file_from_path(in_docs)) and file.inclusion.is_included():
        return in_docs
    real = ROOT / path
    if not real.exists():
        return None
    uri = f"files/{path}.txt"
    if files.get_file_from_path(uri) is None:
        text = _listed(real) if real.is_dir() else real.read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=text))
    return uri


def _listed(directory: Path) -> str:
    names = sorted(os.listdir(directory))
    return "".join(f"{name}\n" for name in names if not name.startswith(("__", ".")))


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Refuse a page that loads something from another host."""
    loaded = re.compile(
        r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["']?https?://[^"' >]+"""
    )
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        if found := loaded.search(path.read_text(encoding="utf-8")):
            raise SystemExit(f"{path.name} loads from another host: {found[0]}")
