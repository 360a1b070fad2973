"""What a free text says about a Dixon image: a series description, or an entity's value as a text.

A token decides at the end of the text, as scanners append it
(``t1_vibe_dixon_tra_W_ND``), or before a colon, as GE writes it (``WATER: Ax LAVA-Flex``), or where
it names a phase in words (``in phase``). Any other token is only a hint: ``fat`` in the middle of a
text may belong to the protocol's name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from bids_mfi.measure.pair import Contrast

IN, OUT, WATER, FAT = Contrast.IN_PHASE, Contrast.OUT_PHASE, Contrast.WATER, Contrast.FAT

_GAP = r"[^A-Za-z0-9]*"
_START = r"(?<![A-Za-z0-9])"
_STOP = r"(?![A-Za-z])"
_PHASE_WORD = r"(?:phas(?:e|en|ig|ed?)?|fase)"

_IN_WORD = r"(?:inph|in|ip|en|gleich|fase)"
_OUT_WORD = (
    r"(?:outph|oppph|opph|opposition|opposed|opposite|opposing|opponiert|opp|out|oop|op|hors|"
    r"fuera|fuori|gegen|anti|contra|au(?:ss|ß)er|fase[ _-]opuesta|phase[ _-]oppos[a-zé]*)"
)
_OF = rf"(?:{_GAP}(?:of|de|di))?"
_WITH_PHASE = rf"(?:{_OF}{_GAP}{_PHASE_WORD}s?{_STOP})"
_JOINED = r"(?:and|und|et|y|e|or|oder|ou|o|plus|with|mit|vs|versus|n|fase)"

# "in/out phase", "In and Out of Phase", "opp-in", "inoutphase": two phases in one breath.
_BOTH = re.compile(
    rf"""
      (?:{_START}phase{_GAP})?{_START}{_IN_WORD}{_WITH_PHASE}?{_GAP}(?:{_JOINED}{_GAP})?{_OUT_WORD}
          (?:{_WITH_PHASE}|{_STOP})
    | {_START}{_OUT_WORD}{_WITH_PHASE}?
          (?:{_GAP}{_JOINED}{_GAP}|[^A-Za-z0-9\s]+\s*|\s+[^A-Za-z0-9\s]+\s*|)
          {_IN_WORD}(?:{_WITH_PHASE}|{_STOP})
    | {_START}{_OUT_WORD}{_WITH_PHASE}?\s+{_IN_WORD}(?:{_WITH_PHASE}|\s*$)
    | {_START}(?:i/o|o/i){_WITH_PHASE}
    | (?:in(?:phase)?-?(?:and)?(?:out(?:of)?|opp(?:osed)?|op)|(?:out(?:of)?|opp(?:osed)?)(?:phase)?
          -?(?:and)?in)-?phase
    | (?:inopp|oppin|inout(?!put)|outin)(?=tra|cor|sag|ax|[^A-Za-z]|$)
    """,
    re.IGNORECASE | re.VERBOSE,
)

# Words with "water", "fat", "phase" or "in" that say nothing of the contrast.
_NEUTRAL = re.compile(
    rf"""
      (?:fat|water|fett|wasser){_GAP}(?:(?:and|und|et|y){_GAP})?(?:fat|water|fett|wasser)
          (?:{_GAP}(?:shift|sep|imag)\w*)?
    | {_START}(?-i:[WF](?:[^A-Za-z0-9]+(?:[WF]|IP|OP|OOP|IN|OPP)(?![A-Za-z0-9]))+)
    | water{_GAP}(?:exc|sel|sup|sat|null|bath|phantom)\w*
    | (?:no[nt]?{_GAP})?(?:fat|lipid){_GAP}(?:sat|sup|null|nav|shift|ref|free|less|fs{_STOP})\w*
    | no[nt]?{_GAP}(?:fat|water){_STOP}
    | (?:without|w/o|ohne|sans|sin|minus){_GAP}(?:fat|water)
    | phase{_GAP}(?:enc|over|os{_STOP}|dir|res|part|fov|wrap|array|corr|sens|stab|contrast|cycl|\d)
          \w*
    | phased
    | (?:arteri|veno|portal|delay|late|early|equilibrium|multi|single|dual|hepat|contrast|dynam|
          excret|nephro|cortico|breath|respir|cardiac|systol|diastol|all|no)\w*{_GAP}phases?
    | \d{_GAP}phases?
    | real{_GAP}?time\w*
    | (?:breath\w*|plug|built|hold){_GAP}in{_STOP}
    | (?:zoom|fade|check|wash|time|roll){_GAP}(?:in|out){_STOP}
    | (?:pre|prae|post|intra){_GAP}op{_STOP}
    """,
    re.IGNORECASE | re.VERBOSE,
)

# What scanners and converters append after the contrast.
_TAIL = (
    r"(?:[^A-Za-z0-9]+(?:ND|NORM\w*|COMP\w*|SP|AD|MIX|DIS|DIS_?[23]D|FIL\w*|PP|RR|MOCO|SENSE|CLEAR|"
    r"CS|DRB|TRA|COR|SAG|AX|MSV\d*|[a-e]|e?\d{1,3}))*[^A-Za-z0-9]*$"
)
_END = rf"\d?(?={_TAIL})"

_FRACTION = (
    rf"(?:fat|water){_GAP}(?:signal{_GAP})?(?:frac|perc|content)\w*|(?:fett|lipid){_GAP}(?:frac|"
    rf"perc|anteil)\w*|pdff|{_START}(?:ff|fw|fp|wp){_STOP}(?=(?:{_GAP}map)?{_TAIL})|"
    rf"{_START}ff{_GAP}map"
)
_RELAXATION = (
    rf"(?<![A-Z])[TR]2{_GAP}(?:star|stern|\*)(?:{_GAP}(?:map|eff)\w*)?"
    rf"|{_START}[tr]2s(?:{_GAP}(?:map|eff)\w*)?{_STOP}|{_START}[tr][12]{_GAP}maps?{_STOP}"
)
_FIELD = rf"field{_GAP}map\w*|{_START}b[01](?:{_GAP}map)?{_STOP}"
_PART = (
    rf"imaginary|{_START}imag{_STOP}|{_START}real(?={_TAIL})|{_START}real{_GAP}(?:image|part)|"
    rf"{_START}phase{_GAP}(?:map|image|img|data|diff)\w*|{_START}(?:phase|pha|ph)(?={_TAIL})"
)
_DERIVED = (
    rf"subtract\w*|{_START}sub(?={_TAIL})|^\W*(?-i:SUB)(?=[\s:_])|{_START}(?:mip|minip|adc){_STOP}|"
    rf"{_START}(?:pip|pop|arb){_END}"
)

_IN_PHRASE = (
    rf"{_START}(?:in|en|im){_GAP}(?:{_PHASE_WORD}){_STOP}|gleichphas\w*|{_START}inph{_STOP}"
)
_OUT_PHRASE = (
    rf"{_START}(?:out(?:{_GAP}of)?|opp|opposed|opposite|opposing|op|anti|hors(?:{_GAP}de)?|"
    rf"fuera{_GAP}de|fuori|au(?:ss|ß)er){_GAP}(?:{_PHASE_WORD}){_STOP}|gegenphas\w*"
    rf"|opposition{_GAP}(?:de|di)?{_GAP}(?:{_PHASE_WORD})|(?:phase|fase){_GAP}(?:oppos|opuest)\w*"
    rf"|{_START}(?:outph|oppph|opph){_STOP}"
)
_IN_END = rf"(?<=[_-])(?:in|ip){_END}|(?<=[_-]|\s)IP{_END}"
_OUT_END = rf"(?:^|(?<=[_-]))(?:opp|out|oop|op|opposed){_END}|(?<=[_-]|\s)(?:OPP|OOP|OP){_END}"

# What follows a contrast that begins a text.
_LED = re.compile(
    r"\s*:|[\s_-]+(?:ax|axial|cor|coronal|sag|lava|ideal|flex)(?![a-z])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says.

    Attributes
    ----------
    contrast : Contrast or None
        None: none of the four contrasts, to be set aside.
    token : str
        The words that say so, and nothing else of the text: it may hold a person's name.
    firm : bool
        Whether the token is where scanners put it; otherwise it is only a hint.
    """

    contrast: Contrast | None
    token: str
    firm: bool


@dataclass(frozen=True, slots=True)
class _Token:
    contrast: Contrast | None
    start: int
    end: int


def _rule(
    contrast: Contrast | None, pattern: str, flags: int = re.IGNORECASE
) -> tuple[Contrast | None, re.Pattern[str]]:
    return contrast, re.compile(pattern, flags)


def _lone_letter(letter: str) -> tuple[str, str]:
    """Patterns of W or F as a word of its own in a text that calls itself Dixon.

    A reconstruction's name may follow it: ``dixon_W_MPR``. ``W CONTRAST`` means "with".
    """
    dixon = r"(?i:dixon|ideal|lava)"
    alone = (
        rf"{_START}(?<!T[12][_ -])(?<!PD[_ -])(?P<tells>{letter})(?![A-Za-z0-9/])"
        rf"(?!{_GAP}(?i:contrast|con|gad\w*|gd|km|kontrast|and|wo){_STOP})"
    )
    return rf"{dixon}[\s\S]*{alone}", rf"{alone}[\s\S]*{dixon}"


# In this order: a text that one rule has read is not read by the next.
_RULES = (
    *(_rule(None, one) for one in (_FRACTION, _RELAXATION, _FIELD)),
    _rule(IN, _IN_PHRASE),
    _rule(OUT, _OUT_PHRASE),
    *(_rule(None, one) for one in (_PART, _DERIVED)),
    _rule(IN, _IN_END),
    _rule(OUT, _OUT_END),
    _rule(WATER, rf"water|wasser|{_START}(?:wat|eau|agua|acqua){_STOP}"),
    _rule(FAT, rf"fat(?!ig|h)|fett|{_START}(?:graisse|grasa|grasso|gordura){_STOP}"),
    _rule(WATER, rf"{_START}(?<!T[12][_ -])(?<!PD[_ -])W(?=\s*:|(?i:{_TAIL}))", 0),
    _rule(FAT, rf"{_START}F(?=\s*:|(?i:{_TAIL}))", 0),
    _rule(WATER, rf"dixon\w*_(?P<tells>w)(?={_TAIL})"),
    _rule(FAT, rf"dixon\w*_(?P<tells>f)(?={_TAIL})"),
    *(_rule(WATER, pattern, 0) for pattern in _lone_letter("W")),
    *(_rule(FAT, pattern, 0) for pattern in _lone_letter("F")),
)
_PHASE_RULES = frozenset({IN, OUT})


@lru_cache(maxsize=4096)
def names_both_phases(text: str) -> bool:
    """Whether a text names both phases together, and so identifies neither.

    >>> [names_both_phases(text) for text in ("IN/OUT PHASE", "In and Out of Phase", "opp-in")]
    [True, True, True]
    >>> names_both_phases("out of phase in liver")
    False
    """
    return _BOTH.search(_split_words(text)) is not None or _BOTH.search(text) is not None


@lru_cache(maxsize=4096)
def read_contrast(text: str) -> Reading | None:
    """Read what a text says about the contrast; None if it names none, or two at once.

    Examples
    --------
    >>> read_contrast("t1_vibe_dixon_tra_W_ND")
    Reading(contrast=<Contrast.WATER: 'water'>, token='W', firm=True)
    >>> read_contrast("t1_vibe_dixon_tra_opp_T2s").contrast is None
    True
    >>> read_contrast("Ax T1 fat sat water excitation FOV 300 phase oversampling")
    >>> read_contrast("AX DUAL ECHO IN/OUT PHASE")
    """
    spaced = _split_words(text)
    masked = _blank(_NEUTRAL, _blank(_BOTH, spaced))
    tokens = _without_opposites(sorted(_find_tokens(masked), key=lambda token: token.end))
    leading = [t for t in tokens if _leads(t, masked)]
    firm = leading[:1] or [t for t in tokens if _is_firm(t, masked)][-1:]
    chosen = firm or tokens[-1:]
    if not chosen:
        return None
    only = chosen[0]
    shown = " ".join(re.split(r"[\W_]+", spaced[only.start : only.end].strip(" _-:")))
    return Reading(only.contrast, _with_star(shown, spaced, only), bool(firm))


def _with_star(shown: str, text: str, token: _Token) -> str:
    return f"{shown.strip()}*" if text[token.start : token.end].endswith("*") else shown.strip()


def _split_words(text: str) -> str:
    """Put an underscore between words that only a capital separates.

    >>> [_split_words(text) for text in ("dixonTraW", "InPhase", "T1w", "oppT2s")]
    ['dixon_Tra_W', 'In_Phase', 'T1w', 'opp_T2s']
    """
    split = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    return re.sub(r"(?i)(wa)(te)_(r)", r"\1\2\3", split)


def _blank(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: "\n" * len(match.group()), text)


def _find_tokens(text: str) -> Iterator[_Token]:
    for contrast, pattern in _RULES:
        group = "tells" if "tells" in pattern.groupindex else 0
        spans = [match.span(group) for match in pattern.finditer(text)]
        for start, end in spans:
            yield _Token(contrast, start, end)
            text = text[:start] + "\n" * (end - start) + text[end:]


def _without_opposites(tokens: list[_Token]) -> list[_Token]:
    """Drop water and fat where both are named, and the phases likewise."""
    named = {token.contrast for token in tokens}
    for pair in (frozenset({WATER, FAT}), _PHASE_RULES):
        if pair <= named:
            tokens = [token for token in tokens if token.contrast not in pair]
    return tokens


def _leads(token: _Token, text: str) -> bool:
    """Whether a token begins the text as GE writes it: ``WATER: Ax LAVA-Flex``."""
    begins = re.fullmatch(r"\W*", text[: token.start]) is not None
    return begins and _LED.match(text[token.end :]) is not None


def _is_firm(token: _Token, text: str) -> bool:
    if token.contrast in _PHASE_RULES:
        return True
    return re.match(_TAIL, text[token.end :], re.IGNORECASE) is not None
