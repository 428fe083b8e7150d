import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from envpack.errors import SourceError
from envpack.recipe import Recipe
from envpack.recipes.activation import entrypoint, environment, variables

SHELLS = ["dash", "bash"]


def source(
    shell: str, text: str, before: str = "", after: str = "", host: dict[str, str] | None = None
) -> dict[str, str]:
    """The variables after ``before``, activation and ``after`` in a real shell started with ``host``."""
    done = subprocess.run(
        [shell, "-c", f"{before}\n{text}\n{after}\nexec /usr/bin/env -0"],
        env={"PATH": "/usr/bin:/bin"} if host is None else host,
        capture_output=True,
        check=True,
    )
    pairs = (item.partition("=") for item in done.stdout.decode().split("\0") if item)
    found = {name: value for name, _, value in pairs}
    # What shells themselves add.
    return {name: value for name, value in found.items() if name not in {"PWD", "SHLVL", "_", "OLDPWD"}}


@pytest.mark.parametrize("shell", SHELLS)
def test_exactly_these_variables_are_set(recipe: Recipe, shell: str) -> None:
    assert source(shell, environment(recipe)) == {
        "PATH": "/opt/env/bin:/usr/bin:/bin",
        "CONDA_PREFIX": "/opt/env",
        "CONDA_DEFAULT_ENV": "climate",
        "CONDA_SHLVL": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONHOME": "",
        "PYTHONPATH": "",
        "OMP_NUM_THREADS": "4",
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_exactly_these_variables_are_set_on_the_python_of_the_base(
    on_system_python: Recipe, shell: str
) -> None:
    expected = {
        "PATH": "/opt/env/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": "/opt/env",
        "PYTHONNOUSERSITE": "1",
        "PYTHONHOME": "",
        "PYTHONPATH": "",
        "OMP_NUM_THREADS": "4",
    }
    text = environment(on_system_python)
    assert source(shell, text, before="set -eu") == expected
    assert source(shell, f"{text}\n{text}") == expected
    of_docker = {name: value for name, value in expected.items() if value and name != "PATH"}
    assert variables(on_system_python) == of_docker


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, "/opt/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("/bin", "/opt/env/bin:/bin"),
        ("/opt/env/bin", "/opt/env/bin"),
        ("/opt/env/bin:/bin", "/opt/env/bin:/bin"),
        ("/bin:/opt/env/bin:/opt/env/bin:/sbin", "/opt/env/bin:/bin:/sbin"),
        ("/opt/env/bin2:/x/opt/env/bin", "/opt/env/bin:/opt/env/bin2:/x/opt/env/bin"),
    ],
)
def test_path_has_the_environment_first_and_once(
    recipe: Recipe, shell: str, path: str | None, expected: str
) -> None:
    before = "unset PATH" if path is None else f"PATH={path}"
    assert source(shell, environment(recipe), before)["PATH"] == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_sourcing_twice_changes_nothing(recipe: Recipe, shell: str) -> None:
    once = source(shell, environment(recipe))
    assert source(shell, environment(recipe), before=environment(recipe)) == once


@pytest.mark.parametrize("shell", SHELLS)
def test_the_host_does_not_leak_in(recipe: Recipe, shell: str) -> None:
    host = {"PATH": "/bin", "PYTHONHOME": "/usr", "PYTHONPATH": "/apps/python", "CONDA_SHLVL": "3"}
    found = source(shell, environment(recipe), host=host)
    assert (found["PYTHONHOME"], found["PYTHONPATH"], found["CONDA_SHLVL"]) == ("", "", "1")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_recipe_may_set_pythonpath(recipe: Recipe, shell: str) -> None:
    text = environment(replace(recipe, variables={"PYTHONPATH": "/opt/my code"}))
    assert source(shell, text)["PYTHONPATH"] == "/opt/my code"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("flags", ["", "e", "u", "eu"])
def test_activation_scripts_run_in_order_and_cannot_break_the_shell(
    recipe: Recipe, shell: str, flags: str, tmp_path: Path
) -> None:
    scripts = tmp_path / "etc/conda/activate.d"
    scripts.mkdir(parents=True)
    (scripts / "a.sh").write_text('export FIRST="$CONDA_PREFIX/share" SEEN="$OMP_NUM_THREADS"\n')
    (scripts / "b.sh").write_text("false\n")
    (scripts / "c.sh").write_text("if then fi ((\n")
    (scripts / "d.sh").write_text('export UNBOUND="x$NOBODY_SET_THIS"\n')
    (scripts / "e.sh").write_text("return 3\n")
    (scripts / "f.sh").write_text("no_such_command\n")
    (scripts / "g.sh").write_text('export LAST="$FIRST/last"\n')
    (scripts / "h.fish").write_text("export WRONG=1\n")
    prefix = str(tmp_path)
    after = 'case "$-" in *e*) export E=on ;; esac; case "$-" in *u*) export U=on ;; esac'
    before = f"set -{flags}" if flags else ""
    found = source(shell, environment(replace(recipe, prefix=prefix)), before, after)
    assert ("E" in found, "U" in found) == ("e" in flags, "u" in flags)
    assert found["FIRST"] == f"{prefix}/share"
    assert found["SEEN"] == "4"
    assert found["UNBOUND"] == "x"
    assert found["LAST"] == f"{prefix}/share/last"
    assert "WRONG" not in found


def test_text_holds_no_bashism_for_values_with_line_breaks(recipe: Recipe) -> None:
    hostile = "a\n%post\nBootstrap: docker\n{{ x }}'\"$(exit 1)`exit 1`\\\n"
    text = environment(replace(recipe, variables={"HOSTILE": hostile}))
    for shell in SHELLS:
        assert source(shell, text, "set -eu")["HOSTILE"] == hostile


def test_a_recipe_that_cannot_be_written_is_refused(recipe: Recipe) -> None:
    with pytest.raises(SourceError):
        environment(replace(recipe, variables={"LD_PRELOAD": "/x.so"}))


def start(
    recipe: Recipe, tmp_path: Path, *arguments: str, shell: str = "/bin/sh", **host: str
) -> subprocess.CompletedProcess[bytes]:
    """Start a program as a container does, with the image's variables and those of ``host``."""
    script = tmp_path / "entrypoint.sh"
    script.write_text(entrypoint(recipe))
    environ = {"PATH": "/usr/bin:/bin", **variables(recipe), **host}
    return subprocess.run([shell, str(script), *arguments], env=environ, capture_output=True, check=False)


def test_the_entrypoint_hands_arguments_and_exit_code_on(recipe: Recipe, tmp_path: Path) -> None:
    awkward = ["a b", "*", "", "$HOME", "'", '"', "\\", "--flag"]
    done = start(recipe, tmp_path, "sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", *awkward)
    assert done.stdout.decode() == "".join(f"{argument}|" for argument in awkward)
    assert (done.returncode, done.stderr) == (7, b"")


def test_the_entrypoint_runs_activation_scripts(recipe: Recipe, tmp_path: Path) -> None:
    scripts = tmp_path / "etc/conda/activate.d"
    scripts.mkdir(parents=True)
    (scripts / "a.sh").write_text('export FIRST="$CONDA_PREFIX/share"; set -- other arguments\n')
    (scripts / "b.sh").write_text("if then fi ((\n")
    (scripts / "c.sh").write_text('if [[ -n "$FIRST" ]]; then export SECOND="$FIRST/b"; fi\n')
    done = start(replace(recipe, prefix=str(tmp_path)), tmp_path, "env", shell="/bin/dash")
    found = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert found["FIRST"] == f"{tmp_path}/share"
    assert found["SECOND"] == f"{tmp_path}/share/b"
    assert found["OMP_NUM_THREADS"] == "4"
    assert not any(name.startswith("_envpack") for name in found)


def test_the_entrypoint_runs_the_scripts_it_is_told(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("a", "b 'c"):
        (tmp_path / f"{name}.sh").write_text("COUNT=$COUNT.; export COUNT\n")
    script = tmp_path / "entrypoint.sh"
    script.write_text(entrypoint(recipe, [str(tmp_path / "b 'c.sh"), str(tmp_path / "absent.sh")]))
    done = subprocess.run(["dash", script, "printenv", "COUNT"], capture_output=True, check=True)
    assert done.stdout == b".\n"
    assert "activate" not in entrypoint(recipe, []).replace("conda activate", "")


@pytest.mark.parametrize("first", ["-c", "--version", "script.py", "./folder with space/script.py"])
def test_the_entrypoint_gives_options_and_python_files_to_python(
    recipe: Recipe, tmp_path: Path, first: str
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    python.chmod(0o755)
    done = start(replace(recipe, prefix=str(tmp_path)), tmp_path, first, "a b", "")
    assert done.stdout.decode() == f"{first}|a b||"


def test_variables_with_line_breaks_come_from_the_entrypoint(recipe: Recipe, tmp_path: Path) -> None:
    hostile = "a\n%post\n'$(exit 1)`exit 1`\\\n"
    recipe = replace(recipe, variables={"HOSTILE": hostile, "PLAIN": "x"})
    assert "HOSTILE" not in variables(recipe)
    done = start(recipe, tmp_path, "printenv", "HOSTILE")
    assert done.stdout.decode() == hostile + "\n"
    assert (
        start(recipe, tmp_path, "printenv", "HOSTILE", HOSTILE="of docker run").stdout == b"of docker run\n"
    )
    assert start(recipe, tmp_path, "printenv", "PLAIN", PLAIN="of docker run").stdout == b"of docker run\n"
