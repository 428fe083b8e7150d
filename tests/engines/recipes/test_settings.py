"""``envpack.toml`` in images of Docker and Apptainer: apt, files, commands and runscript, for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Served
from tests.engines.docker import Docker
from tests.engines.recipes.conftest import alone, apptainer_build

pytestmark = pytest.mark.engines

# What a definition file or a Dockerfile would take for their own, and a shell must not.
SETTINGS = r"""
apt = ["figlet"]
post = [
    "printf '%s\n' 'it'\\''s $(touch /pwned) {{ x }}' > /opt/post.txt",
    '''
cat > /opt/lines.txt <<'END'
%post
touch /pwned
%environment
RUN touch /pwned
Bootstrap: docker
# kept \
END
''',
    "python -c 'import sys, six; print(sys.prefix, six.__version__)' > /opt/python.txt",
    "test \"$CONDA_PREFIX $GREETING\" = \"/opt/env it's\"",
]
runscript = '''
python - "$@" <<'END'
import json, os, sys
print(json.dumps([sys.prefix, os.environ["GREETING"], sys.argv[1:]]))
END
'''

[environment]
GREETING = "it's"

[files]
"data" = "/opt/data"
"tool.sh" = "/usr/local/bin/tool"
"""
LOOK = """
import json, os
def read(path):
    with open(path) as file:
        return file.read()
print(json.dumps({
    "post": read("/opt/post.txt"),
    "lines": read("/opt/lines.txt"),
    "python": read("/opt/python.txt").split()[0],
    "data": read("/opt/data/deep/x"),
    "modes": [oct(os.stat(p).st_mode & 0o777) for p in ("/opt/data/deep/x", "/usr/local/bin/tool")],
    "leftovers": [p for p in ("/pwned", "/opt/build", "/opt/conda") if os.path.exists(p)],
    "lists": os.listdir("/var/lib/apt/lists"),
}))
"""
EXPECTED = {
    "post": "it's $(touch /pwned) {{ x }}\n",
    "lines": "%post\ntouch /pwned\n%environment\nRUN touch /pwned\nBootstrap: docker\n# kept \\\n",
    "python": "/opt/env",
    "data": "x\n",
    "modes": ["0o644", "0o755"],
    "leftovers": [],
    "lists": [],
}
ARGUMENTS = ["a b", "*", "", "-x", "$HOME", "'"]


@pytest.fixture(scope="module")
def recipes(work: Path, settings: dict[str, str], apt_base: str, channel: Served) -> Path:
    folder = work / "settings"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "data" / "deep" / "x").write_text("x\n")
    (folder / "tool.sh").write_text("#!/bin/sh\necho tool\n")
    (folder / "tool.sh").chmod(0o755)
    (folder / "envpack.toml").write_text(SETTINGS)
    (folder / "environment.yml").write_text(
        f"name: settings\nchannels: ['{channel.url}']\ndependencies: [python, six]\n"
    )
    for arguments in (["lock", "--base", apt_base], ["recipe"]):
        done = subprocess.run(
            [sys.executable, "-m", "envpack", *arguments],
            cwd=folder, env=settings, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder / "recipes" / "settings"


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_docker(builder: str, docker: Docker, recipes: Path, work: Path) -> None:
    folder = alone(recipes, work / f"settings-{builder}")
    docker("build", "--network", "host", "-t", f"settings-{builder}", folder, buildkit=builder == "buildkit")
    run = ["run", "--rm", "--network", "none"]
    image = f"settings-{builder}"
    with_program = [*run, "--entrypoint", "/opt/env/bin/python", image, "-c", LOOK]
    assert json.loads(docker(*with_program).stdout) == EXPECTED
    assert json.loads(docker(*run, image, *ARGUMENTS).stdout) == ["/opt/env", "it's", ARGUMENTS]
    assert json.loads(docker(*run, image).stdout)[2] == []
    said = docker(*run, "--user", "1234", "--entrypoint", "sh", image, "-c", "figlet ok && tool").stdout
    assert said.endswith("tool\n")
    assert len(said.splitlines()) > 4


def test_apptainer(apptainer: list[str], recipes: Path, work: Path) -> None:
    image = str(apptainer_build(apptainer, alone(recipes, work / "settings-apptainer")))

    def said(*arguments: str) -> str:
        done = subprocess.run([*apptainer, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(said("exec", image, "python", "-c", LOOK)) == EXPECTED
    assert json.loads(said("run", image, *ARGUMENTS)) == ["/opt/env", "it's", ARGUMENTS]
    assert said("exec", image, "sh", "-c", "figlet ok && tool").endswith("tool\n")
