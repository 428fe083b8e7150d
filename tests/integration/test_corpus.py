"""Every file of a collection from the field: a specification with every line told, or a refusal with a place.

The collection is not part of the repository (``ENVPACK_CORPUS``, see CONTRIBUTING.md).
"""

from __future__ import annotations

import csv
import json
import os
import re
import time
from pathlib import Path

import pytest

from envpack import sources
from envpack.errors import EnvpackError
from envpack.ledger import Action, Ledger
from envpack.sources.text import read_text
from envpack.spec import EnvSpec

CORPUS = Path(os.environ.get("ENVPACK_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
PIP_OR_YAML = ("env", "envjson", "freeze", "reqs")
REFUSED = {
    "004": "there is no file requirements.txt",  # that file is not in the collection
    "094": "packages",  # a list of nothing
}
# What gives a file its form and asks for nothing.
STRUCTURE = re.compile(
    r"""\s*(?:
        \[[\w.-]+\]                                                      # a table of TOML
      | (?:-\s+)?["']?[A-Za-z_][\w-]*["']?\s*:\s*(?:[\[{|>]\s*|null|~)?,?   # a key with its value below
      | [\]\[{}],?[\s\]\[{},]*                                             # brackets of JSON
      | -{3} | \.{3} | @EXPLICIT
      | -
    )\s*(?:\#.*)?\Z""",
    re.VERBOSE,
)


def _rows() -> list[dict[str, str]]:
    if not (CORPUS / "index.tsv").is_file():
        return []
    with (CORPUS / "index.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


ROWS = _rows()


def rows(*kinds: str) -> pytest.MarkDecorator:
    """One case for each file of the collection, or of ``kinds``."""
    chosen = [row for row in ROWS if not kinds or row["kind"] in kinds]
    ids = [f"{row['id']}-{row['kind']}" for row in chosen]
    return pytest.mark.parametrize("row", chosen or [{}], ids=ids or ["no-collection"])


@pytest.fixture(autouse=True)
def _needs_collection(corpus: Path) -> None:
    """Skips with the reason where there is no collection."""


def source_of(row: dict[str, str]) -> Path:
    (path,) = (CORPUS / row["id"]).iterdir()
    return path


def outcome(row: dict[str, str]) -> tuple[EnvSpec | EnvpackError, Ledger]:
    """What comes of a file, with no other error than envpack's own."""
    path, ledger = source_of(row), Ledger()
    try:
        return sources.read(path.name, directory=path.parent, name="study", ledger=ledger), ledger
    except EnvpackError as error:
        return error, ledger


def told(result: EnvSpec | EnvpackError, ledger: Ledger, file: str) -> set[int]:
    """The lines of ``file`` that findings and problems are about."""
    places = [finding.where for finding in ledger]
    if isinstance(result, EnvpackError):
        places += [result.where, *(problem.where for problem in result.problems)]
    return {where.line for where in places if where and where.file == file and where.line}


def lines_that_say_something(text: str, *, pip: bool) -> dict[int, str]:
    """Numbered lines of ``text`` but for comments, blank ones, structure, and hashes continued from above."""
    found = {}
    continued = False
    for number, line in enumerate(text.split("\n"), 1):
        blank = not line.strip() or line.lstrip().startswith("#")
        if not blank and not continued and (pip or not STRUCTURE.match(line)):
            found[number] = line
        continued = pip and line.endswith("\\")
    return found


@rows()
def test_every_file_is_read_or_refused_with_its_place(row: dict[str, str]) -> None:
    began = time.monotonic()
    result, ledger = outcome(row)
    assert time.monotonic() - began < 30
    if row["id"] in REFUSED:
        assert isinstance(result, EnvpackError)
        assert REFUSED[row["id"]] in str(result)
        assert result.hint or all(problem.hint for problem in result.problems)
        return
    assert isinstance(result, EnvSpec), str(result)
    assert result.conda or result.pip
    assert all(f.remedy for f in ledger if f.action is Action.NEEDS_YOU)


@rows()
def test_every_line_is_accounted_for(row: dict[str, str]) -> None:
    path = source_of(row)
    result, ledger = outcome(row)
    if row["kind"] in ("condalock", "pixilock"):
        _every_package_of_a_lock(result, ledger, path)
        return
    text = read_text(path, path.name)
    saying = lines_that_say_something(text, pip=row["kind"] in ("freeze", "reqs"))
    lines = told(result, ledger, path.name)
    if row["id"] == "094":  # no lines at all
        assert not saying
        return
    if row["kind"] == "pixitoml":
        lines |= _below_told_tables(text, lines)
        saying = {n: line for n, line in saying.items() if not line.startswith("name =")}  # --name is given
    missing = {number: line for number, line in saying.items() if number not in lines}
    assert not missing


def _below_told_tables(text: str, lines: set[int]) -> set[int]:
    """The lines of the TOML tables whose head, or first line, ``lines`` are about: left out as a whole."""
    found: set[int] = set()
    head = 0
    for number, line in enumerate(text.split("\n"), 1):
        head = number if line.startswith("[") else head
        if head and not line.startswith("[workspace") and head in lines:
            found.add(number)
    return found


def _every_package_of_a_lock(result: EnvSpec | EnvpackError, ledger: Ledger, path: Path) -> None:
    """A lock has a dozen lines a package: each one of the platform that is read is told, others in sum."""
    assert isinstance(result, EnvSpec)
    lines = told(result, ledger, path.name)
    text = path.read_text("utf-8")
    entry = (
        r"^- name: .*(?:\n  .*)*?\n  platform: (?P<of_lock>\S+)"
        if path.suffix == ".yml"
        else r"^      - conda: \S+"
    )
    of_platform: dict[str, list[int]] = {}
    for found in re.finditer(entry, text, re.MULTILINE):
        platform = found.groupdict().get("of_lock") or "linux-64"
        of_platform.setdefault(platform, []).append(text.count("\n", 0, found.start()) + 1)
    read = of_platform.pop(result.exported_from or "")
    assert len(read) > 100
    assert set(read) <= lines
    subjects = {finding.subject for finding in ledger}
    assert {f"{len(starts)} packages for {platform}" for platform, starts in of_platform.items()} <= subjects


@rows()
def test_nothing_is_said_twice_in_two_ways(row: dict[str, str]) -> None:
    """One requirement or text of a line has one kind of statement."""
    _, ledger = outcome(row)
    kinds: dict[tuple[str, str], set[Action]] = {}
    for finding in ledger:
        if finding.where and finding.where.line:
            kinds.setdefault((str(finding.where), finding.subject), set()).add(finding.action)
    assert not {key: actions for key, actions in kinds.items() if len(actions) > 1}


@rows(*PIP_OR_YAML)
def test_what_locking_reads_is_what_is_asked(row: dict[str, str]) -> None:
    from packaging.requirements import Requirement as Pep508
    from rattler import MatchSpec

    result, _ = outcome(row)
    if isinstance(result, EnvSpec):
        for requirement in result.conda:
            name = MatchSpec(requirement.text).name
            assert name is not None
            assert name.normalized
        for requirement in result.pip:
            assert Pep508(requirement.text).url is None


SYSTEMS = {
    "006": "win-64",
    "017": "linux-64",
    "025": "osx-arm64",
    "029": "win-64",
    "046": "osx-64",
    "048": "linux-64",
    "061": "linux-64",
    "089": "osx-64",
    "175": "osx-64",
    "178": "win-64",
    "185": "win-64",
    "198": "win-64",
    "208": "linux-64",
    "219": "osx-64",
    "042": None,
    "050": None,
    "082": None,
}
WHOLE = (
    "006",
    "015",
    "025",
    "029",
    "036",
    "041",
    "046",
    "048",
    "061",
    "089",
    "161",
    "173",
    "178",
    "198",
    "204",
    "208",
)
PARTS = ("002", "008", "027", "034", "042", "049", "050", "068", "082", "217", "210", "213")


def _row(identifier: str) -> dict[str, str]:
    return next(row for row in ROWS if row["id"] == identifier)


@pytest.mark.parametrize(("identifier", "system"), SYSTEMS.items())
def test_the_system_it_was_exported_from(identifier: str, system: str | None) -> None:
    result, _ = outcome(_row(identifier))
    assert isinstance(result, EnvSpec)
    assert result.exported_from == system


@pytest.mark.parametrize("identifier", [*WHOLE, *PARTS])
def test_whole_environments_are_known(identifier: str) -> None:
    result, _ = outcome(_row(identifier))
    assert isinstance(result, EnvSpec)
    assert result.complete is (identifier in WHOLE)


def test_the_same_export_as_json_and_as_yaml(tmp_path: Path) -> None:
    path = source_of(_row("089"))
    data = json.loads(path.read_text("utf-8"))
    lines = ["name: x", "channels:", *(f"- {c}" for c in data["channels"]), "dependencies:"]
    lines += [f"- {d}" for d in data["dependencies"] if isinstance(d, str)]
    lines += ["- pip:", *(f"  - {p}" for p in data["dependencies"][-1]["pip"]), f"prefix: {data['prefix']}"]
    (tmp_path / "environment.yml").write_text("\n".join(lines), "utf-8")
    one = sources.read(path.name, directory=path.parent, name="x", ledger=Ledger())
    other = sources.read(None, directory=tmp_path, name="x", ledger=Ledger())
    assert [r.text for r in one.conda] == [r.text for r in other.conda]
    assert [r.text for r in one.pip] == [r.text for r in other.pip]
    assert one.exported_from == other.exported_from
