"""The prose linter finds phrases wherever a person reads them, and nowhere else."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("prose", ROOT / "tools" / "prose.py")
prose = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(prose)
PHRASES = prose.read_phrases("# a comment\nis no folder\\b = is not a folder\n")


@pytest.fixture
def find(tmp_path, monkeypatch):
    monkeypatch.setattr(prose, "ROOT", tmp_path)

    def find_in(name, text):
        path = tmp_path / name
        path.write_text(text)
        return list(prose.find_phrases(path, PHRASES))

    return find_in


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.md", "One.\n\nThat Is no folder.\n", 3),
        ("a.md", "This is no\nfolder.\n", 1),
        ("a.py", '"""One.\n\nThat is no\n    folder.\n"""\n', 3),
        ("a.py", 'x = f"{1}: is no "\ny = (\n    "is no "\n    "folder"\n)\n', 3),
        ("a.py", 'x = f"{1}: is no folder {2}"\n', 1),
        ("a.html", "<p>\nis no folder</p>\n", 2),
    ],
)
def test_a_phrase_is_found(find, name, text, line):
    (found,) = find(name, text)
    assert found == f"{name}:{line}: '{found.split(chr(39))[1]}': is not a folder"
    assert found.split("'")[1].lower() == "is no folder"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "`is no folder`\n\n    is no folder\n\n```\nis no folder\n```\n"),
        ("a.md", "is no foldering\n"),
        ("a.py", '# is no folder\n"""One.\n\n>>> "is no folder"\n``is no folder``\n"""\n'),
    ],
)
def test_code_and_other_words_are_not(find, name, text):
    assert find(name, text) == []


def test_each_phrase_of_the_list_has_advice():
    phrases = prose.read_phrases(prose.PHRASES.read_text())
    assert len(phrases) > 20
    assert [phrase.pattern for phrase, advice in phrases if not advice] == []
