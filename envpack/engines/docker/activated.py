"""What packages' activation scripts set becomes part of the image, so that ``docker exec`` sees it too.

The entry point runs these scripts for the first program of a container, and no other program passes through
it. A Dockerfile cannot know what they set; a container can be asked.
"""

from __future__ import annotations

from typing import Any

from envpack.engines.docker.daemon import Daemon
from envpack.image import Reference
from envpack.progress import Progress
from envpack.recipes import activation

# Set by the shell that was asked, or by the runtime for each container.
_OF_THE_MOMENT = frozenset({"HOME", "HOSTNAME", "OLDPWD", "PWD", "SHLVL", "TERM", "_", "container"})
_ASK = (*activation.ENTRYPOINT_COMMAND, "/bin/sh", "-c", "cat /proc/self/environ")


def keep(found: Daemon, reference: Reference, progress: Progress) -> None:
    """Have the image ``reference`` set what its entry point does.

    An image whose programs do not run on the daemon's machine, or whose entry point fails, stays as it is.
    Raises :class:`EngineError` where the daemon refuses.
    """
    tag = reference.familiar
    with progress.step("Looking at what packages' scripts set"), found.talking("running the entry point"):
        said = _ask(found.client, tag)
        if said is None:
            progress.note("the entry point does not run here: `docker exec` will not see what it sets")
            return
        before = _variables(found.client.inspect_image(tag)["Config"].get("Env") or [])
        new = {k: v for k, v in said.items() if k not in _OF_THE_MOMENT and before.get(k) != v}
        if not new:
            return
        # Never started, so there is nothing in it but the image.
        container = found.client.create_container(tag)["Id"]
        try:
            repository, _, name = tag.rpartition(":")
            settings = {"Env": [f"{key}={value}" for key, value in sorted((before | new).items())]}
            found.client.commit(container, repository, name, conf=settings)
        finally:
            found.client.remove_container(container, force=True)
    progress.note(f"set for `docker exec` too: {', '.join(sorted(new))}")


def _ask(client: Any, tag: str) -> dict[str, str] | None:
    """The variables of a program that the entry point starts; ``None`` if that fails."""
    import docker.errors

    offline = client.create_host_config(network_mode="none")
    container = client.create_container(tag, [], entrypoint=list(_ASK), host_config=offline)["Id"]
    try:
        client.start(container)
        if client.wait(container)["StatusCode"] != 0:
            return None
        said = client.logs(container, stdout=True, stderr=False)
    except docker.errors.APIError:
        return None
    finally:
        client.remove_container(container, force=True)
    return _variables(bytes(said).decode("utf-8", "replace").rstrip("\0").split("\0"))


def _variables(listed: list[str]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in listed if "=" in item)
