"""argparse with short errors and suggestions.

An error has two lines: what is wrong, with the nearest valid word, and how to call the program.
Option names accept ``_`` for ``-``, as some BIDS Apps spell them.
"""

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

SHORTEST_PART = 5  # letters of a word that is looked for inside others
LIKENESS = 0.7  # as difflib's ratio: 0 for nothing in common, 1 for the same


def suggest(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest known word; empty if none is near.

    Examples
    --------
    >>> suggest("participants", ("participant", "group"))
    ' Did you mean participant?'
    >>> suggest("Group", ("participant", "group"))
    ' Did you mean group?'
    >>> suggest("--n-proc", ("--nprocs", "--mem")), suggest("--xyz", ("--nprocs", "--mem"))
    (' Did you mean --nprocs?', '')
    """
    by_letters = {_letters(each): each for each in known}
    near = difflib.get_close_matches(_letters(word), by_letters, n=1, cutoff=LIKENESS)
    near = near or [
        each
        for each in by_letters
        if min(len(each), len(_letters(word))) >= SHORTEST_PART
        and (each in _letters(word) or _letters(word) in each)
    ]
    return f" Did you mean {by_letters[near[0]]}?" if near else ""


def _letters(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())


class Parser(argparse.ArgumentParser):
    """A parser that suggests words, accepts ``_`` for ``-``, and prints one line of usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.words: list[str] = []

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse after refusing unknown options; a later error could mislead."""
        self.words = [*(sys.argv[1:] if args is None else args)]
        words = [self._with_hyphens(word) for word in self._own_words()]
        self._refuse_unknown(words)
        return super().parse_known_args([*words, *self.words[len(words) :]], namespace)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse; words that are left over are an error."""
        found, left = self.parse_known_args(args, namespace)
        if left:
            self.error(f"too many words: {' '.join(left)}.{self._explain_left(left)}")
        return found

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and one line of usage; end with 2."""
        if message.startswith("the following arguments are required"):
            message += self._explain_missing()
        self.exit(2, f"{self.prog}: error: {message}\n{self.short_usage()}")

    def short_usage(self) -> str:
        """One line: the positional arguments, and where to read more."""
        return f"usage: {self.prog} {self._arguments()}; see {self.prog} --help\n"

    def format_help(self) -> str:
        """Write the help; its first line leaves out the options, which the list shows."""
        self.usage = f"%(prog)s {self._arguments()}"
        return super().format_help()

    def _arguments(self) -> str:
        end = "[options]" if self._subparsers is None else "..."
        return " ".join([*map(_name_positional, self._get_positional_actions()), end])

    def _own_words(self) -> list[str]:
        """Words that this parser reads itself; those after a verb belong to the verb's parser."""
        if self._subparsers is None:
            return self.words
        first = (n for n, word in enumerate(self.words) if not word.startswith("-"))
        return self.words[: next(first, len(self.words))]

    def _with_hyphens(self, word: str) -> str:
        name, equals, value = word.partition("=")
        return f"{name.replace('_', '-')}{equals}{value}" if word.startswith("--") else word

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        own = words[: words.index("--")] if "--" in words else words
        if {"-h", "--help", "--version"} & set(own):
            return
        for place, word in enumerate(own):
            if self._is_unknown(word):
                self._refuse(self.words[place], own[max(0, place - 1)])

    def _refuse(self, word: str, before: str) -> NoReturn:
        """Refuse an unknown option; after an option with a value it was meant as that value."""
        action = self._option_string_actions.get(before)
        if action is not None and action.nargs is None:
            self.error(f"argument {before}: expected one argument; write {before}={word}")
        name = word.partition("=")[0]
        self.error(f"unknown option {name}.{suggest(name, self._long())}")

    def _is_unknown(self, word: str) -> bool:
        """Whether argparse reads the word as an option that this parser does not have."""
        found = self._parse_optional(word)
        return found is not None and found[0] is None

    def _long(self) -> list[str]:
        return [name for name in self._option_string_actions if name.startswith("--")]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += f".{suggest(str(value), map(str, action.choices or ()))}"
            raise

    def _explain_left(self, left: Sequence[str]) -> str:
        """Explain words that are left over: a second value of a choice, or a space in a path."""
        for action in self._get_positional_actions():
            others = [word for word in left if action.choices and word in action.choices]
            if others:
                return f" One call accepts one of {', '.join(action.choices or ())}."
        return " Quote a path or value that contains a space."

    def _explain_missing(self) -> str:
        """Explain that an option with many words may have taken the positional arguments."""
        many = [name for name, action in self._option_string_actions.items() if action.nargs == "+"]
        given = [name for name in many if name in map(self._with_hyphens, self.words)]
        return f". {given[0]} accepts all words that follow it: put it last" if given else ""


def _name_positional(action: argparse.Action) -> str:
    if action.choices:
        return f"{{{','.join(map(str, action.choices))}}}"
    return str(action.metavar or action.dest).upper()
