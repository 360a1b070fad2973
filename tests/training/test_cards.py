"""Model cards: the package's own, a user's file, and what is wrong with one."""

import os
from dataclasses import fields
from pathlib import Path

import pytest

from bids_mfi.cli.verbs import main_verbs
from bids_mfi.errors import InputError
from bids_mfi.training.model_cards import CARDS, REFERENCES, ModelCard, read_card

GOOD = {
    "name": "mine",
    "version": "1.0.0",
    "description": "Learnt from twenty scans.",
    "licence": "MIT",
    "licence_text": "MIT",
}


def write_card(path: Path, values: dict[str, object]) -> Path:
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in values.items()))
    return path


def test_a_users_card(tmp_path: Path) -> None:
    card = read_card(str(write_card(tmp_path / "card.toml", GOOD)))
    assert card == ModelCard(**GOOD, references=REFERENCES)
    cited = {**GOOD, "references": ["A 2020", "B 2021"]}
    assert read_card(str(write_card(tmp_path / "c.toml", cited))).references == ("A 2020", "B 2021")


@pytest.mark.parametrize("path", sorted(CARDS.glob("*.toml")), ids=lambda path: path.stem)
def test_cards_of_the_package_say_what_was_never_seen(path: Path) -> None:
    card = read_card(path.stem)
    assert card.name == path.stem
    assert "no Dixon scan of a person was used" in " ".join(card.description.split())
    assert "not a medical device" in card.licence_text
    assert "BodyParts3D" in card.licence_text
    assert {field.name for field in fields(card)} >= set(GOOD)


WRONG = {
    "missing": ({k: v for k, v in GOOD.items() if k != "licence"}, "licence is missing"),
    "unknown": ({**GOOD, "author": "x"}, "author is missing or not a card key"),
    "number": ({**GOOD, "version": 1}, "a value is empty or not text"),
    "empty": ({**GOOD, "name": " "}, "a value is empty or not text"),
    "references": ({**GOOD, "references": "A"}, "a value is empty or not text"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_cards_are_refused(tmp_path: Path, case: str) -> None:
    values, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        read_card(str(write_card(tmp_path / "card.toml", values)))


def test_no_card_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nor a card of the package.*synthetic-neck"):
        read_card("nonesuch")
    for text in ("name =", "name = " + "[" * 100_000, "name = " + "1" * 5000):
        (tmp_path / "x.toml").write_text(text)
        with pytest.raises(InputError, match="cannot be read as TOML"):
            read_card(str(tmp_path / "x.toml"))
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(InputError, match=r"TOML \(it is a named pipe"):
        read_card(str(tmp_path / "pipe.toml"))
    with pytest.raises(InputError, match="neither a file"):
        read_card("a" * 5000)


def test_card_beside_a_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_verbs(["train", str(tmp_path / "out"), "--card", "x", "--name", "y"]) == 3
    assert "leave out --name" in capsys.readouterr().err
