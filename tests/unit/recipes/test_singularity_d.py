import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from envpack.entry import Entry, Kind, is_safe_path
from envpack.recipe import Recipe
from envpack.recipes import activation, singularity_d

BASE = {"LANG": "C.UTF-8", "QUOTED": "it's $(id)\n", "not a name": "x"}


def contents(entries: list[Entry]) -> dict[str, str]:
    return {e.path: b"".join(e.chunks).decode() for e in entries if e.kind is Kind.FILE}


def test_entries_are_whole_and_in_order(recipe: Recipe) -> None:
    entries = singularity_d.entries(recipe, "Bootstrap: docker\n")
    paths = [entry.path for entry in entries]
    assert paths == sorted(set(paths))
    assert all(is_safe_path(path) for path in paths)
    for entry in entries:
        parent = entry.path.rpartition("/")[0]
        assert not parent or paths.index(parent) < paths.index(entry.path)
        assert (entry.uid, entry.gid, entry.mtime) == (0, 0, None)
        if entry.kind is Kind.FILE:
            assert entry.size == sum(map(len, entry.chunks))
        if entry.kind is Kind.SYMLINK:
            assert entry.target in paths


def test_what_runtimes_look_for_is_there(recipe: Recipe) -> None:
    entries = {entry.path: entry for entry in singularity_d.entries(recipe, "the text", BASE)}
    for name in ("runscript", "startscript", "test", "env/90-environment.sh", "env/99-base.sh"):
        assert entries[f".singularity.d/{name}"].mode == 0o755
        assert b"".join(entries[f".singularity.d/{name}"].chunks).startswith(b"#!/bin/sh\n")
    for name in ("exec", "run", "shell", "start", "test"):
        assert entries[f".singularity.d/actions/{name}"].mode == 0o755
    for name in (".run", ".exec", ".shell", ".test", "singularity", "environment"):
        assert entries[name].kind is Kind.SYMLINK
    assert entries[".singularity.d/libs"].kind is Kind.DIRECTORY
    texts = contents(list(entries.values()))
    assert texts[".singularity.d/Singularity"] == "the text"
    assert texts[".singularity.d/env/90-environment.sh"].endswith(activation.environment(recipe))


def test_all_scripts_are_valid_for_a_posix_shell(recipe: Recipe) -> None:
    for path, text in contents(singularity_d.entries(recipe, "", BASE)).items():
        if text.startswith("#!/bin/sh"):
            done = subprocess.run(["dash", "-n"], input=text.encode(), capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, b""), path


def test_labels_are_those_of_the_recipe(recipe: Recipe) -> None:
    labels = {"org.example": 'a "quoted" ü $(id)'}
    texts = contents(singularity_d.entries(replace(recipe, labels=labels), ""))
    assert json.loads(texts[".singularity.d/labels.json"]) == labels


def test_base_variables_reach_the_shell_exactly() -> None:
    script = singularity_d.base_environment(BASE) + "exec /usr/bin/env -0"
    done = subprocess.run(["dash", "-c", script], env={}, capture_output=True, check=True)
    assert {b"LANG=C.UTF-8", b"QUOTED=it's $(id)\n"} <= set(done.stdout.split(b"\0"))
    assert b"not a name" not in done.stdout


def test_metadata_says_what_the_files_say(recipe: Recipe) -> None:
    recipe = replace(recipe, labels={"org.example": "ü"})
    attributes = json.loads(singularity_d.inspect_metadata(recipe, "the text", BASE))["data"]["attributes"]
    texts = contents(singularity_d.entries(recipe, "the text", BASE))
    assert attributes["deffile"] == texts[".singularity.d/Singularity"]
    assert attributes["runscript"] == texts[".singularity.d/runscript"]
    assert attributes["startscript"] == texts[".singularity.d/startscript"]
    assert attributes["test"] == texts[".singularity.d/test"]
    assert attributes["helpfile"] == texts[".singularity.d/runscript.help"]
    assert attributes["labels"] == json.loads(texts[".singularity.d/labels.json"])
    assert attributes["environment"] == {
        "/" + path: text
        for path, text in texts.items()
        if path.endswith(("/10-docker2singularity.sh", "/90-environment.sh"))
    }


def prefix_with_python(tmp_path: Path, python: str) -> str:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(python)
    (tmp_path / "bin/python").chmod(0o755)
    return str(tmp_path)


def test_the_runscript_keeps_arguments_as_they_are(recipe: Recipe, tmp_path: Path) -> None:
    prefix = prefix_with_python(tmp_path, '#!/bin/sh\nfor a; do printf "%s\\0" "$a"; done\nexit 7\n')
    arguments = ["a b", "", "*", "$HOME", "'\"\\", "-c", "\n"]
    script = singularity_d.runscript(replace(recipe, prefix=prefix))
    done = subprocess.run(["dash", "-c", script, "run", *arguments], capture_output=True, check=False)
    assert done.stdout.decode().split("\0")[:-1] == arguments
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("imports", "code", "said"),
    [
        (("json", "os.path"), 0, "json"),
        ((), 0, "python 3"),
        (("json", "no_such_module", "nor_this.one"), 1, "2 of 3 imports failed"),
    ],
)
def test_the_test_imports_what_was_asked_for(
    recipe: Recipe, tmp_path: Path, imports: tuple[str, ...], code: int, said: str
) -> None:
    prefix = prefix_with_python(tmp_path, f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "json.py").write_text("raise SystemExit('the current folder was imported')\n")
    script = singularity_d.testscript(replace(recipe, prefix=prefix, imports=imports))
    done = subprocess.run(
        ["dash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    if code:
        assert "no_such_module: ModuleNotFoundError" in done.stderr
        assert "nor_this.one: ModuleNotFoundError" in done.stderr


def test_help_names_what_was_asked_for(recipe: Recipe) -> None:
    text = singularity_d.help_text(recipe)
    for part in ("climate", "/opt/env", "ubuntu:20.04", "numpy  1.26.4", "scipy  1.11.4"):
        assert part in text


def test_mount_points_have_parents_and_usual_modes() -> None:
    points = {entry.path: entry for entry in singularity_d.mount_points()}
    assert list(points) == sorted(points)
    assert {"dev", "proc", "sys", "tmp", "var/tmp", "root", "home", "etc/hosts", "etc/resolv.conf"} <= set(
        points
    )
    assert all("/" not in path or path.rpartition("/")[0] in points for path in points)
    assert points["tmp"].mode == points["var/tmp"].mode == 0o1777
