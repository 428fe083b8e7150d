"""Images run for real, without a container runtime: mounted by squashfuse, and unpacked."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from envpack.errors import UsageError
from envpack.run import Bind, parse_bind
from tests.unit.run.runner import AS_USER, Runner, make_runner

ROOT = Path(__file__).parents[3]
# Long enough to be sent a signal, but not for ever: a test fails rather than waits.
LINGER = "i=0; while [ $i -lt 400 ]; do i=$((i + 1)); sleep 0.05; done"
SIGPIPE_AND_SIGXFSZ = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)


def variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_arguments_input_output_and_code_are_the_programs(anyone: Runner, image: Path) -> None:
    script = 'cat; echo "$#" "$1" "$2" "$3"; echo wrong >&2; exit 42'
    done = anyone(image, "-c", script, "sh", "a b", "", "$HOME *", stdin="from outside\n")
    assert done.stdout == "from outside\n3 a b  $HOME *\n"
    assert done.stderr.endswith("wrong\n")
    assert done.returncode == 42
    assert anyone.left_behind() == []


def test_it_says_how(runner: Runner, way: str, image: Path) -> None:
    said = runner(image, "-c", ":").stderr
    assert "note: running small.sif" in said
    assert ("squashfuse" in said.splitlines()[0]) == (way == "mounted")
    assert ("are unpacked for this run" in said) == (way == "unpacked")


def test_a_bare_file_system_runs_too(runner: Runner, squashfs: Path) -> None:
    assert runner(squashfs, "-c", "echo $CONDA_DEFAULT_ENV").stdout == "small\n"


def test_the_environment_is_activated_and_the_hosts_stays_out(runner: Runner, image: Path) -> None:
    done = runner(
        image,
        *("-c", "exec env"),
        HELLO="it's\there",
        PYTHONPATH="/host",
        LD_LIBRARY_PATH="/host",
        BASH_ENV="/host",
        CONDA_PREFIX="/host",
    )
    found = variables(done.stdout)
    assert found["HELLO"] == "it's\there"
    assert found["GREETING"] == "it's 5 > 4"
    assert found["ACTIVATED"] == found["CONDA_PREFIX"] == "/opt/env"
    assert found["PATH"] == "/opt/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert found["PYTHONPATH"] == ""
    assert found["LD_LIBRARY_PATH"] == "/.singularity.d/libs"
    assert "BASH_ENV" not in found


def test_apptainers_overrides_work(runner: Runner, image: Path) -> None:
    overrides = {"APPTAINERENV_PYTHONPATH": "/mine it's", "SINGULARITYENV_GREETING": "hi"}
    found = variables(runner(image, "-c", "exec env", **overrides).stdout)
    assert (found["PYTHONPATH"], found["GREETING"]) == ("/mine it's", "hi")
    assert not set(overrides) & set(found)


def test_the_user_stays_who_they_are(anyone: Runner, image: Path) -> None:
    user = 1000 if anyone.prefix else os.geteuid()
    done = anyone(image, "-c", "id -u; id -g; id -un; cat /etc/passwd")
    assert done.stdout.split()[:2] == [str(user), str(1000 if anyone.prefix else os.getegid())]
    assert f"{done.stdout.split()[2]}:x:{user}:" in done.stdout
    assert "root:x:0:0:root:/root:/bin/sh" in done.stdout


def test_nothing_of_the_image_can_be_written(anyone: Runner, image: Path) -> None:
    paths = ["/new", "/etc/new", "/opt/env/new", "/usr/share/data", "/etc/passwd"]
    done = anyone(image, "-c", f"for path in {' '.join(paths)}; do (: >> $path); done")
    refused = [line for line in done.stderr.splitlines() if line.endswith(": Read-only file system")]
    assert [line.split("cannot create ")[1].split(":")[0] for line in refused] == paths


def test_home_and_working_folder_are_the_hosts(anyone: Runner, image: Path) -> None:
    anyone.home = str(ROOT)
    done = anyone(image, "-c", "pwd; echo $HOME; ls $HOME/pyproject.toml", cwd=ROOT / "tests")
    assert done.stdout == f"{ROOT}/tests\n{ROOT}\n{ROOT}/pyproject.toml\n"


def test_a_working_folder_does_not_hide_the_images(runner: Runner, image: Path) -> None:
    done = runner(image, "-c", "pwd; cat data; ls /dev/null /proc/self/exe", cwd="/usr/share")
    assert done.stdout.splitlines()[:2] == ["/usr/share", "of the image"]
    assert done.returncode == 0


def test_temporary_files_are_shared_with_the_host(runner: Runner, image: Path) -> None:
    done = runner(image, "-c", "echo hello > result; pwd", cwd=runner.temporary)
    assert (runner.temporary / "result").read_text() == "hello\n", done.stderr


def test_binds(runner: Runner, image: Path) -> None:
    source = runner.temporary / "source"
    source.mkdir()
    source.chmod(0o777)
    (source / "file").write_text("bound\n")
    done = runner(
        image,
        f"bind:{source}:/data/in:ro",
        f"bind:{source}:/srv/more",
        f"bind:{source / 'file'}:/usr/share/data",
        *("-c", "cat /data/in/file /usr/share/more/file /srv/data; touch /srv/more/new; touch /data/in/no"),
    )
    assert done.stdout == "bound\n" * 3
    assert "Read-only file system" in done.stderr
    assert sorted(path.name for path in source.iterdir()) == ["file", "new"]


def test_nothing_is_made_on_the_host_to_bind_to(runner: Runner, image: Path) -> None:
    missing = runner.temporary / "missing"
    done = runner(image, f"bind:{ROOT}:{missing}", "-c", ":")
    assert done.returncode == 9
    assert "EngineError: cannot run small.sif" in done.stderr
    assert "there is no such mount point" in done.stderr
    assert not missing.exists()


def test_a_program_ended_by_a_signal(runner: Runner, image: Path) -> None:
    assert runner(image, "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL
    assert runner.left_behind() == []


def test_signals_mean_to_the_program_what_they_usually_do(runner: Runner, image: Path) -> None:
    status = runner(image, "-c", "exec cat /proc/self/status").stdout
    [ignored] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")]
    assert int(ignored, 16) & SIGPIPE_AND_SIGXFSZ == 0


def test_the_program_hears_when_envpack_is_ended(runner: Runner, image: Path) -> None:
    script = f"trap 'echo told; exit 5' TERM; echo ready; {LINGER}"
    with start(runner, image, script) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        # the end of the output is the end of the program
        assert process.stdout.read() == "told\n"


def test_ctrl_c_is_the_programs(runner: Runner, image: Path) -> None:
    """At a real terminal, which sends it to all processes there: the image must outlive it."""
    script = f"trap 'cat /usr/share/data; exit 7' INT; echo ready; {LINGER}"
    process, terminal = pty.fork()
    if process == 0:
        command = runner.command(image, "-c", script)
        os.execve(command[0], command, runner.environment())
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    with suppress(OSError):  # how the terminal's end reads
        while piece := os.read(terminal, 1000):
            said += piece
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert b"of the image" in said
    assert runner.left_behind() == []


def test_what_a_killed_run_leaves_is_removed_by_the_next(runner: Runner, image: Path) -> None:
    with start(runner, image, "echo ready; exec cat") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.stdout.read()
    assert runner.left_behind()
    assert runner(image, "-c", "echo again").stdout == "again\n"
    assert runner.left_behind() == []


def start(runner: Runner, image: Path, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        runner.command(image, "-c", script),
        env=runner.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_the_host_sees_no_mount(runner: Runner, image: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    with start(runner, image, "echo ready; exec cat") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert Path("/proc/self/mountinfo").read_text() == before
        assert process.stdin
        process.stdin.close()


@pytest.mark.engines
def test_a_squashfuse_that_cannot_mount_is_done_without(shared: Path, image: Path) -> None:
    """A stand-in for one that was built without the image's compression."""
    runner = make_runner(shared, "unpacked", AS_USER)
    program = Path(runner.path) / "squashfuse_ll"
    program.write_text("#!/bin/sh\necho unsupported compression >&2\nexit 1\n")
    program.chmod(0o755)
    done = runner(image, "-c", "cat /usr/share/data")
    assert (done.returncode, done.stdout) == (0, "of the image\n")
    assert "note: squashfuse cannot mount small.sif: unsupported compression" in done.stderr


def test_namespaces_that_are_forbidden(shared: Path, image: Path) -> None:
    """In a namespace where no further one may be made, without the right to mount."""
    forbidding = 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-sys_admin "$@"'
    runner = make_runner(
        shared, "unpacked", ("unshare", "--user", "--map-root-user", "sh", "-c", forbidding, "sh")
    )
    runner.path += f":{os.environ['PATH']}"
    done = runner(image, "-c", ":")
    assert done.returncode == 9
    assert "EngineError: cannot run small.sif without a container runtime" in done.stderr
    assert "/proc/sys/user/max_user_namespaces is 0" in done.stderr
    assert "sysctl user.max_user_namespaces=" in done.stderr
    assert runner.left_behind() == []


def test_a_temporary_folder_that_others_can_write_to_is_refused(shared: Path, image: Path) -> None:
    runner = make_runner(shared, "unpacked", ())
    (runner.temporary / f"envpack-{os.geteuid()}").mkdir()
    (runner.temporary / f"envpack-{os.geteuid()}").chmod(0o777)
    done = runner(image, "-c", ":")
    assert done.returncode == 8
    assert "not a folder that only you can write to" in done.stderr


@pytest.mark.parametrize("name", ["apptainer", "singularity"])
def test_a_container_runtime_is_preferred(shared: Path, image: Path, name: str) -> None:
    """A stand-in for the runtime says how it was called."""
    runner = make_runner(shared, "unpacked", ())
    program = Path(runner.path) / name
    program.write_text('#!/bin/sh\nfor a; do printf "%s|" "$a"; done\nexit 6\n')
    program.chmod(0o755)
    done = runner(image, f"bind:{ROOT}:/data:ro", "-c", "a b", "--bind")
    assert done.stdout == f"run|--bind|{ROOT}:/data:ro|{image}|-c|a b|--bind|"
    assert done.returncode == 6
    assert f"through {program}" in done.stderr


def test_binds_are_read_as_apptainer_reads_them(tmp_path: Path) -> None:
    assert parse_bind(str(tmp_path)) == Bind(str(tmp_path), str(tmp_path))
    assert parse_bind(f"{tmp_path}:/data") == Bind(str(tmp_path), "/data")
    assert parse_bind(f"{tmp_path}:/data:ro") == Bind(str(tmp_path), "/data", read_only=True)


@pytest.mark.parametrize(
    "text", ["", ":/data", "/nothing/here:/data", "/:relative", "/:/", "/:/a:rx", "/:/a,b"]
)
def test_binds_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError):
        parse_bind(text)
