"""Find the phrases of ``phrases.txt`` in documents, messages and docstrings.

``make check`` runs this linter; ``docs/decisions/prose.md`` describes it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PHRASES = ROOT / "tools" / "phrases.txt"
TEXTS = ("*.md", "bids_mfi/data/*.html", "bids_mfi/data/*.toml", "bids_mfi/*.py", "run.py")
UNREAD = (":!tests",)
CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
NAMES = re.compile(r"^ *(?:>>>|\.\.\.) .*$|`[^`\n]+`|^ *\w+ : .*$", re.MULTILINE)


def read_phrases(text: str) -> list[tuple[re.Pattern[str], str]]:
    """Read lines of ``regular expression = what to write instead``; ``#`` begins a comment."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.rsplit(" = ", 1) for line in lines]
    return [
        (re.compile(rf"\b(?:{phrase.replace(' ', chr(92) + 's+')})", re.IGNORECASE), advice)
        for phrase, advice in pairs
    ]


def read_passages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the first line and the text of each passage that a person reads."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for line, words in _read_strings(ast.parse(text)):
            yield line, NAMES.sub(_blank, words)
    elif path.suffix == ".md":
        yield 1, CODE.sub(_blank, text)
    else:
        yield 1, text


def _blank(code: re.Match[str]) -> str:
    """Keep the line breaks of omitted code, so that lines can be counted."""
    return re.sub(r"[^\n]", "_", code[0])


def _read_strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield string literals; the parts of an f-string as one text."""
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in joined for part in node.values}
    for node in joined:
        values = [part.value if isinstance(part, ast.Constant) else "_" for part in node.values]
        yield node.lineno, "".join(map(str, values))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def find_phrases(path: Path, phrases: list[tuple[re.Pattern[str], str]]) -> Iterator[str]:
    """Yield a line for each phrase of the list that a file contains."""
    for first, text in read_passages(path):
        for phrase, advice in phrases:
            for found in phrase.finditer(text):
                line = first + text.count("\n", 0, found.start())
                words = " ".join(found[0].split())
                yield f"{path.relative_to(ROOT)}:{line}: {words!r}: {advice}"


def main() -> int:
    """Check all files that git tracks; return 1 where a phrase was found."""
    listed = subprocess.check_output(["git", "ls-files", *TEXTS, *UNREAD], cwd=ROOT, text=True)
    phrases = read_phrases(PHRASES.read_text(encoding="utf-8"))
    found = [line for name in listed.splitlines() for line in find_phrases(ROOT / name, phrases)]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
