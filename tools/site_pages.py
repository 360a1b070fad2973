"""Pages of the documentation site that ``docs/`` does not hold; a hook of MkDocs.

README, CONTRIBUTING and CHANGELOG become pages, the sections of README that are listed in
``SECTIONS`` pages of their own. The references are written from the parsers and the columns. A
link to another file of the repository leads to a copy of it.
"""

import argparse
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from bids_mfi.bids import columns
from bids_mfi.cli import build_parser, build_verb_parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"
}  # fmt: skip
SECTIONS = {
    "Your data in five steps": "your-data.md",
    "What it writes": "outputs.md",
    "Models, synthetic data and comparisons": "models.md",
}
GENERAL = ("help", "version")  # options that every command has
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
LISTED = re.compile(r"\]\(([\w-]+\.md)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List all pages of a folder, where the navigation names only the folder."""
    config.nav = [_list_folder(entry) for entry in config.nav or []]
    return config


def _list_folder(entry: dict[str, object]) -> dict[str, object]:
    """Order the pages as the folder's README does; pages that it does not list come last."""
    ((title, value),) = entry.items()
    if not isinstance(value, str) or not value.endswith("/"):
        return entry
    folder = ROOT / "docs" / value
    listed = ["README.md", *LISTED.findall((folder / "README.md").read_text())]
    others = sorted({path.name for path in folder.glob("*.md")} - set(listed))
    return {title: [value + name for name in [*listed, *others]]}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and copies of the files that pages link to."""
    sources = [*DOCUMENTS, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    for name, content in {**_make_pages(), **_copy_linked(sources)}.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point the links of a page in ``docs/`` at pages of the site."""
    name = page.file.src_uri
    return markdown if page.file.generated_by else redirect_links(markdown, f"docs/{name}", name)


def _make_pages() -> dict[str, str]:
    pages = {"commands.md": describe_commands(), "columns.md": describe_columns()}
    for source, page in DOCUMENTS.items():
        pages[page] = redirect_links((ROOT / source).read_text(), source, page)
    for heading, page in SECTIONS.items():
        pages["index.md"], pages[page] = take_section(pages["index.md"], heading)
    return pages


def take_section(markdown: str, heading: str) -> tuple[str, str]:
    """Split a page into the page without one section, and the section as a page."""
    before, _, rest = markdown.partition(f"\n## {heading}\n")
    if not rest:
        raise ValueError(f"README.md has no section {heading!r}")
    body, _, after = rest.partition("\n## ")
    section = re.sub(r"^##(#+ )", r"#\1", body, flags=re.MULTILINE)
    return f"{before}\n## {after}", f"# {heading}\n{section}"


def _links(source: str) -> Iterator[str]:
    """Paths in the repository to which a document links."""
    folder = posixpath.dirname(source)
    for link in LINK.findall((ROOT / source).read_text()):
        yield posixpath.normpath(posixpath.join(folder, link))


def _copy_linked(sources: list[str]) -> dict[str, str]:
    """Text files outside ``docs/`` to which documents link, by their place on the site."""
    paths = {path for source in sources for path in _links(source)}
    outside = sorted(path for path in paths if _place_on_site(path).startswith("files/"))
    return {_place_on_site(path): (ROOT / path).read_text() for path in outside}


def _place_on_site(path: str) -> str:
    if path in DOCUMENTS:
        return DOCUMENTS[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"files/{path}.txt"


def redirect_links(markdown: str, source: str, page: str) -> str:
    """Turn links between files of the repository into links between files of the site."""

    def redirect(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        place = _place_on_site(target)
        if (ROOT / target).is_dir():
            place += "/README.md"
        return posixpath.relpath(place, posixpath.dirname(page) or ".")

    return LINK.sub(redirect, markdown)


def describe_commands() -> str:
    """Write the page of all commands, from their parsers."""
    verbs = build_verb_parser()
    choices = next(action for action in verbs._actions if isinstance(action.choices, dict))
    parts = [
        "# Commands",
        "The installed command `bids_mfi` is `run.py`; `bids_mfi_tools` is `python -m bids_mfi`. "
        "Every command accepts `--help`; both also accept `--version`.",
        *_describe_parser(build_parser(), ""),
    ]
    summaries = {action.dest: action.help for action in choices._get_subactions()}
    for verb, parser in choices.choices.items():
        parts += _describe_parser(parser, summaries[verb] or "")
    return "\n\n".join([*parts, escape_markdown(verbs.epilog or "")])


def _describe_parser(parser: argparse.ArgumentParser, summary: str) -> Iterator[str]:
    yield f"## {parser.prog}"
    yield escape_markdown(parser.description or f"{summary[:1].upper()}{summary[1:]}.")
    usage = [_spell(action) for action in parser._get_positional_actions()]
    yield f"    {' '.join([parser.prog, *usage, '[options]'])}"
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest not in GENERAL]
        if actions:
            heading = (group.title or "").capitalize()
            rows = [(_mark_code(_spell(action)), _explain(parser, action)) for action in actions]
            yield f"### {heading}"
            yield _write_table(("argument", "meaning"), rows)


def _spell(action: argparse.Action) -> str:
    """Write an argument as it is typed."""
    choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else ""
    value = str(action.metavar or choices or action.dest.upper())
    if not action.option_strings:
        return value
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    more = " ..." if action.nargs == "+" else ""
    return f"{', '.join(action.option_strings)} {value}{more}"


def _mark_code(spelling: str) -> str:
    """Write each spelling of an option as code of its own, so that a line breaks between them."""
    return ", ".join(f"`{part}`" for part in spelling.split(", "))


def _explain(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = argparse.HelpFormatter(parser.prog)._expand_help(action)
    required = action.required and action.option_strings
    return escape_markdown(f"{text} (required)" if required else text)


TABLES = {
    "*_mfi.tsv": columns.MUSCLE_COLUMNS,
    "*_levels.tsv": columns.LEVEL_COLUMNS,
    "*_slices.tsv": columns.SLICE_COLUMNS,
    "seg-muscle_dseg.tsv": columns.LABEL_COLUMNS,
    "seg-vertebrae_dseg.tsv": columns.VERTEBRA_COLUMNS,
}


def describe_columns() -> str:
    """Write the page of all columns of the tables of a scan, from their registry."""
    parts = ["# Columns", "A value that cannot be measured is `n/a`. "
             "The JSON file beside each table holds the same descriptions."]  # fmt: skip
    for table, described in TABLES.items():
        rows = [(f"`{column.name}`", column.unit, _explain_column(column)) for column in described]
        parts += [f"## `{table}`", _write_table(("column", "unit", "meaning"), rows)]
    return "\n\n".join(parts)


def _explain_column(column: columns.ResultColumn) -> str:
    levels = [f"`{value}`: {escape_markdown(text)}" for value, text in column.levels.items()]
    return "<br>".join([escape_markdown(column.description), *levels])


def escape_markdown(text: str) -> str:
    """Escape the characters that Markdown reads as marks."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def _write_table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
