"""Content of a dataset's folders.

Everything is listed by scandir, which also sees links whose target does not exist. What hides
images of a participant is kept as an unusable scan: nothing disappears silently. A
link to a folder above itself, or to one that is listed anyway, adds nothing and is
skipped.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bids_mfi.discovery.naming import IMAGE_EXTENSIONS, OTHER_DATATYPES, is_utf8
from bids_mfi.discovery.pair import UnusableScan
from bids_mfi.printing import escape_text

# No folder is ever stored there, so that a broken link to it stands for a file.
_FILE_STORE = os.path.join("annex", "objects")
# Names that somebody meant for a participant's folder: another case, another separator.
_MEANT = re.compile(r"(?i)sub[-_ ][A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of images below a participant.

    Attributes
    ----------
    path : Path
    entities : tuple of (str, str)
        ``sub`` and, where there is one, ``ses``.
    datatype : str
        Name of the folder; empty for that of the participant or session itself.
    """

    path: Path
    entities: tuple[tuple[str, str], ...]
    datatype: str

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``; None outside sessions."""
        return dict(self.entities).get("ses")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why images of a folder could not be seen or used.

    Attributes
    ----------
    folder : Folder
    problem : str
        For a person to read.
    paths : tuple of Path
        The images, as far as they were seen.
    """

    folder: Folder
    problem: str
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedParticipant:
    """What was listed for one participant.

    Attributes
    ----------
    label : str
        Without ``sub-``.
    sessions : frozenset of str
        Labels of its sessions, without ``ses-``.
    images : tuple of (Path, Folder)
        NIfTI files of all sessions, also links whose target is missing.
    obstacles : tuple of Obstacle
    problem : str or None
        Why the participant's folders could not be listed.
    wanted : frozenset of str or None
        Requested sessions; None means all, and images outside sessions.
    """

    label: str
    sessions: frozenset[str] = frozenset()
    images: tuple[tuple[Path, Folder], ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    problem: str | None = None
    wanted: frozenset[str] | None = None

    @property
    def selected(self) -> tuple[tuple[Path, Folder], ...]:
        """Images of the requested sessions."""
        return tuple(item for item in self.images if self._wants(item[1]))

    @property
    def paths(self) -> tuple[Path, ...]:
        """Paths of the selected images."""
        return tuple(path for path, _ in self.selected)

    def hindered(self) -> list[UnusableScan]:
        """Give the obstacles of the selected sessions, one unusable scan each."""
        return [
            UnusableScan(
                tuple((key, escape_text(value)) for key, value in one.folder.entities),
                one.paths,
                one.problem,
            )
            for one in self.obstacles
            if self._wants(one.folder)
        ]

    def unusable(self, problem: str) -> UnusableScan:
        """Give one unusable scan that represents the whole participant."""
        return UnusableScan((("sub", escape_text(self.label)),), self.paths, problem)

    def _wants(self, folder: Folder) -> bool:
        return self.wanted is None or folder.session in self.wanted


def list_labels(bids_dir: Path) -> list[str]:
    """Participants' labels without ``sub-``, sorted, also those behind broken links."""
    return [name.removeprefix("sub-") for name in _folder_names(bids_dir, "sub-")]


def list_misnamed(bids_dir: Path) -> list[ListedParticipant]:
    """Folders that were meant for participants but are not, such as ``Sub-02`` and ``sub_02``."""
    with os.scandir(bids_dir) as entries:
        names = sorted(e.name for e in entries if _MEANT.fullmatch(e.name) and _is_folder(e))
    return [
        ListedParticipant(name[len("sub-") :], problem=_describe_misnamed(name))
        for name in names
        if not name.startswith("sub-")
    ]


def _describe_misnamed(name: str) -> str:
    return (
        f"{name}: is not a BIDS name for a participant, so its images are not read. Rename the "
        f"folder to sub-{name[len('sub-') :]}, and its files likewise."
    )


def list_participant(bids_dir: Path, label: str) -> ListedParticipant:
    """List a participant's images: in its own folder, in its sessions, and in their datatypes."""
    home = Folder(bids_dir / f"sub-{label}", (("sub", label),), "")
    if _is_lost(home.path):
        return ListedParticipant(label, problem=_describe_lost(home.path, bids_dir))
    try:
        sessions = [name.removeprefix("ses-") for name in _folder_names(home.path, "ses-")]
        homes = [home, *(_session_folder(home, session) for session in sessions)]
        folders = _without_repeats(
            folder for one in homes for folder in (one, *_datatype_folders(one))
        )
        images = [
            (path, folder)
            for folder in folders
            if not _is_lost(folder.path)
            for path in _image_paths(folder.path)
        ]
    except OSError as error:
        path = escape_text(str(error.filename))
        return ListedParticipant(label, problem=f"{path}: cannot be listed ({error.strerror}).")
    usable = tuple(item for item in images if _is_printable(_relative(item[0], bids_dir)))
    odd = [item for item in images if not _is_printable(_relative(item[0], bids_dir))]
    return ListedParticipant(
        label, frozenset(sessions), usable, _find_obstacles(folders, odd, bids_dir)
    )


def list_sidecars(folder: Path) -> tuple[Path, ...]:
    """JSON files with a UTF-8 name; no other name can match that of an image that is used."""
    names = (name for name in _file_names(folder) if name.endswith(".json") and is_utf8(name))
    return tuple(folder / name for name in names if name != "dataset_description.json")


def _session_folder(home: Folder, session: str) -> Folder:
    return Folder(home.path / f"ses-{session}", (*home.entities, ("ses", session)), "")


def _datatype_folders(home: Folder) -> Iterator[Folder]:
    if _is_lost(home.path):
        return
    for name in _folder_names(home.path):
        if not name.startswith(("ses-", ".")) and name not in OTHER_DATATYPES:
            yield Folder(home.path / name, home.entities, name)


def _without_repeats(folders: Iterable[Folder]) -> list[Folder]:
    """Leave out links to folders of images that are in the list, too."""
    listed = list(folders)
    links = [one for one in listed if one.datatype and os.path.islink(one.path)]
    if not links:
        return listed
    seen = {os.path.realpath(one.path) for one in listed if one not in links}
    for link in links:
        target = os.path.realpath(link.path)
        if target in seen:
            listed.remove(link)
        seen.add(target)
    return listed


def _image_paths(folder: Path) -> list[Path]:
    return [folder / name for name in _file_names(folder) if name.endswith(IMAGE_EXTENSIONS)]


def _folder_names(folder: Path, prefix: str = "") -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            e.name
            for e in entries
            if e.name.startswith(prefix) and _is_folder(e) and not _leads_up(e)
        )


def _file_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and not _is_folder(e))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a broken link to one."""
    try:
        if entry.is_dir():
            return True
    except OSError:
        return not entry.is_symlink() or _stands_for_folder(entry)
    return _stands_for_folder(entry)


def _leads_up(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a link to its own folder or to one above it."""
    if not entry.is_symlink():
        return False
    target = os.path.realpath(entry.path)
    above = (os.path.realpath(folder) for folder in Path(entry.path).parents)
    return any(os.path.commonpath((folder, target)) == target for folder in above)


def _stands_for_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether a link is broken, and neither its name nor its target is that of a file."""
    if "." in entry.name or not entry.is_symlink() or os.path.exists(entry.path):
        return False
    return _FILE_STORE not in os.readlink(entry.path)


def _is_lost(folder: Path) -> bool:
    """Whether something that was listed as a folder is a link to nowhere."""
    return os.path.islink(folder) and not os.path.isdir(folder)


def _find_obstacles(
    folders: list[Folder], odd: list[tuple[Path, Folder]], bids_dir: Path
) -> tuple[Obstacle, ...]:
    lost = (
        Obstacle(folder, _describe_lost(folder.path, bids_dir))
        for folder in folders
        if _is_lost(folder.path)
    )
    return (
        *lost,
        *(Obstacle(folder, _describe_odd(path, bids_dir), (path,)) for path, folder in odd),
    )


def _describe_lost(folder: Path, bids_dir: Path) -> str:
    target = escape_text(os.readlink(folder))
    return (
        f"{escape_text(_relative(folder, bids_dir))}: is a symbolic link to {target}, where no "
        "folder can be reached; the target has not been fetched or is not mounted, so its images "
        "are unknown. Mount or fetch the target (in a container, bind its folder too), or remove "
        "the link."
    )


def _is_printable(text: str) -> bool:
    return escape_text(text) == text


def _describe_odd(path: Path, bids_dir: Path) -> str:
    text = _relative(path, bids_dir)
    found = "control characters" if is_utf8(text) else "bytes that are not UTF-8"
    return (
        f"{escape_text(text)}: the path holds {found}, written here as \\x and two digits. Rename "
        "the file or its folder to letters, digits, hyphens and underscores."
    )


def _relative(path: Path, bids_dir: Path) -> str:
    return path.relative_to(bids_dir).as_posix()
