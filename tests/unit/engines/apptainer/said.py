"""A definition file, and what Apptainer 1.4.5 said of it and others like it.

Recorded, with hosts renamed; "killed", "a download that is gone", "something else went wrong before" and
"nothing known" are made up.
"""

# ruff: noqa: E501 recorded lines are as long as they are

DEFINITION = r"""# The environment any-base: 20 packages for linux-64.
Bootstrap: docker
From: registry.example.org/library/ubuntu@sha256:48cc3111a5b80d0ad0329ef41e8a673bdabb032c777c1ac2ad74b3436342a81e
Stage: build

%files
    conda-linux-64.lock /opt/build/explicit.txt

%post
    # Miniforge, which brings conda.
    if ! command -v curl > /dev/null; then
        if command -v apt-get > /dev/null; then
            apt-get -o APT::Sandbox::User=root update
            apt-get -o APT::Sandbox::User=root install -y --no-install-recommends ca-certificates curl
        else
            dnf install -y curl
        fi
    fi
    curl --fail --location --silent --show-error --retry 5 \
        --output /opt/build/miniforge.sh https://example.org/miniforge.sh
    # The installer is run only if its bytes are the expected ones.
    printf '%s  %s\n' 2c7d9890d949 /opt/build/miniforge.sh > /opt/build/miniforge.sh.sha256
    sha256sum -c /opt/build/miniforge.sh.sha256
    bash /opt/build/miniforge.sh -b -p /opt/conda
    /opt/conda/bin/conda create --yes --quiet --prefix /opt/env --file /opt/build/explicit.txt
    /opt/env/bin/python -m pip install --disable-pip-version-check --no-cache-dir --no-compile --no-deps \
        --require-hashes --requirement /opt/build/requirements.txt
    { /opt/env/bin/python -I -S -m compileall -q -q -f -j 0 \
        --invalidation-mode unchecked-hash /opt/env/lib/python3* || test $? -eq 1; }

Bootstrap: docker
From: mirror.example.org/library/ubuntu@sha256:000c3111a5b80d0ad0329ef41e8a673bdabb032c777c1ac2ad74b3436342a81e
Stage: final

%files from build
    /opt/env /opt/env

%post
    rm -rf /opt/build

%test
exec /opt/env/bin/python -I -c 'import numpy'
"""

TRACES = r"""
INFO:    Starting build...
INFO:    Fetching OCI image...
INFO:    Extracting OCI image...
INFO:    Inserting Apptainer configuration...
INFO:    Copying conda-linux-64.lock to /opt/build/explicit.txt
INFO:    Running post scriptlet
+ command -v curl
+ curl --fail --location --silent --show-error --retry 5 --output /opt/build/miniforge.sh https://example.org/miniforge.sh
+ printf %s  %s\n 2c7d9890d949 /opt/build/miniforge.sh
+ sha256sum -c /opt/build/miniforge.sh.sha256
/opt/build/miniforge.sh: OK
+ bash /opt/build/miniforge.sh -b -p /opt/conda
+ /opt/conda/bin/conda create --yes --quiet --prefix /opt/env --file /opt/build/explicit.txt
"""

WHOLE = f"""{TRACES}\
+ /opt/env/bin/python -I -S -m compileall -q -q -f -j 0 --invalidation-mode unchecked-hash /opt/env/lib/python3.11
INFO:    Fetching OCI image...
INFO:    Extracting OCI image...
INFO:    Inserting Apptainer configuration...
INFO:    Copying /opt/env to /opt/env
INFO:    Adding labels
INFO:    Running testscript
python 3.11.7
WARNING: Skipping mount /etc/localtime [binds]: /etc/localtime doesn't exist in container
INFO:    Creating SIF file...
INFO:    Build complete: /images/.env.sif.partial.d/image
"""

_START = "INFO:    Starting build...\nINFO:    Fetching OCI image...\n"
_POST = "FATAL:   While performing build: while running engine: while running %post section: exit status"
_CURL = "\n".join(TRACES.splitlines()[:9])
_SUM = "\n".join(TRACES.splitlines()[:11])
_MANIFEST = "https://registry.example.org/v2/library/ubuntu/manifests/sha256:48cc3111a5b80d0ad0329ef41e8a673bdabb032c777c1ac2ad74b3436342a81e"

# Output; the error's kind; the line of the definition file; what it says; and what of the next step.
FAILURES = {
    "pip's hash": (
        f"""{TRACES}\
+ /opt/env/bin/python -m pip install --disable-pip-version-check --no-cache-dir --no-compile --no-deps --require-hashes --requirement /opt/build/requirements.txt
Looking in links: /opt/build/wheels.html
Collecting click==8.2.1 (from -r /opt/build/requirements.txt (line 3))
  Downloading https://example.org/files/click-8.2.1-py3-none-any.whl (102 kB)
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package versions, please update the hashes. Otherwise, examine the package contents carefully; someone may have tampered with them.
    click==8.2.1 from https://example.org/files/click-8.2.1-py3-none-any.whl (from -r /opt/build/requirements.txt (line 3)):
        Expected sha256 0000265b914e850b85317d0b3109c7f8cd35a670f963866005d6ef1d5175a12b
             Got        61a3265b914e850b85317d0b3109c7f8cd35a670f963866005d6ef1d5175a12b

{_POST} 1""",
        "IntegrityError",
        26,
        "%post ended with exit status 1 at `/opt/env/bin/python -m pip install --disable-pip-version-ch…`: a file "
        "does not have the recorded hash",
        "envpack lock",
    ),
    "the installer's hash": (
        f"{_SUM}\n/opt/build/miniforge.sh: FAILED\nsha256sum: WARNING: 1 computed checksum did NOT match\n{_POST} 1",
        "IntegrityError",
        23,
        "%post ended with exit status 1 at `sha256sum -c /opt/build/miniforge.sh.sha256`: a file does not have the "
        "recorded hash",
        "envpack lock",
    ),
    "conda": (
        f"{TRACES}conda (stand-in): not an explicit URL with a sha256\n{_POST} 1",
        "EngineError",
        25,
        "%post ended with exit status 1 at `/opt/conda/bin/conda create --yes --quiet --prefix /opt/env…`",
        "mend the cause",
    ),
    "something else went wrong before": (
        TRACES.replace("+ bash", "curl: (28) Connection timed out\n+ bash") + f"conda: wrong\n{_POST} 1",
        "EngineError",
        25,
        "/opt/conda/bin/conda create --yes --quiet --prefix /opt/env…`",
        "mend the cause",
    ),
    "killed": (
        f"{TRACES}Killed\n{_POST} 137",
        "EngineError",
        25,
        "ended from outside, perhaps for want of memory",
        "--engine",
    ),
    "a download": (
        f"{_CURL}\ncurl: (7) Failed to connect to example.org port 443 after 0 ms: Couldn't connect to server\n{_POST} 7",
        "NetworkError",
        19,
        "%post ended with exit status 7 at `curl --fail --location --silent --show-error --retry 5 --ou…`: a server "
        "cannot be reached",
        "https_proxy",
    ),
    "a download that is gone": (
        f"{_CURL}\ncurl: (22) The requested URL returned error: 404\n{_POST} 22",
        "NetworkError",
        19,
        "a download was refused",
        "envpack lock",
    ),
    "space for curl": (
        f"{_CURL}\ncurl: (23) Failure writing output to destination\n{_POST} 23",
        "OutputError",
        19,
        "no space is left on a disk",
        "APPTAINER_TMPDIR",
    ),
    "space for the image": (
        "INFO:    Creating SIF file...\nFATAL:   While performing build: while creating SIF: while creating container: "
        "write /images/.env.sif.partial.d/image: no space left on device",
        "OutputError",
        None,
        "apptainer 1.4.5 ended with exit code 255: no space is left on a disk",
        "APPTAINER_TMPDIR",
    ),
    "an unknown manifest": (
        f"{_START}FATAL:   While performing build: conveyor failed to get: GET {_MANIFEST}: MANIFEST_UNKNOWN: manifest "
        "unknown; map[Name:library/ubuntu]",
        "BaseImageError",
        3,
        "the base image registry.example.org/library/ubuntu cannot be fetched: the registry does not have the image",
        "envpack lock",
    ),
    "a login": (
        f"{_START}FATAL:   While performing build: conveyor failed to get: GET {_MANIFEST}: UNAUTHORIZED: authentication "
        "required",
        "NetworkError",
        3,
        "the registry wants a login",
        "apptainer registry login --username NAME docker://registry.example.org`",
    ),
    "a registry that does not answer": (
        f'{_START}FATAL:   While performing build: conveyor failed to get: Get "https://mirror.example.org/v2/": dial '
        'tcp 127.0.0.1:9: connect: connection refused; Get "http://mirror.example.org/v2/": dial tcp 127.0.0.1:9: '
        "connect: connection refused",
        "NetworkError",
        32,
        "the base image mirror.example.org/library/ubuntu cannot be fetched: a server cannot be reached",
        "https_proxy",
    ),
    "a file that is not there": (
        "FATAL:   While performing build: unable to copy files from host to container fs: while copying "
        "[conda-linux-64.lock] to /tmp/build-temp-4062511902/rootfs/opt/build/explicit.txt: [-fLr conda-linux-64.lock "
        "/tmp/build-temp-4062511902/rootfs/opt/build/explicit.txt]: cp: cannot stat 'conda-linux-64.lock': No such "
        "file or directory",
        "EngineError",
        7,
        "conda-linux-64.lock cannot be copied into the image",
        "same command",
    ),
    "a file of the other stage": (
        "FATAL:   While performing build: unable to copy files from stage to container fs: while copying "
        "[/tmp/build-temp-2511621494/rootfs/opt/env] to /tmp/build-temp-2787761721/rootfs/opt/env: stat "
        "/tmp/build-temp-2511621494/rootfs/opt/env: no such file or directory",
        "EngineError",
        36,
        "/opt/env cannot be copied into the image",
        "same command",
    ),
    "the test": (
        "INFO:    Running testscript\nFATAL:   While performing build: failed to execute %test script: exit status 3",
        "EngineError",
        41,
        "%test ended with exit status 3",
        "mend the environment",
    ),
    "mksquashfs": (
        'FATAL:   Unable to create build: while searching for mksquashfs: exec: "mksquashfs": executable file not found '
        "in $PATH",
        "EngineError",
        None,
        "mksquashfs, which writes images, is missing or failed",
        "squashfs-tools",
    ),
    "newuidmap": (
        "FATAL:   newuidmap was not found in PATH (/usr/bin:/bin), required with fakeroot and unprivileged installation "
        "when user is in /etc/subuid",
        "EngineError",
        None,
        "does not let you build without root",
        "native engine",
    ),
    "user namespaces": (
        "INFO:    /etc/subuid mapping can be ignored with --ignore-subuid\n"
        "FATAL:   /etc/subuid mapping found but no user namespace available for fakeroot",
        "EngineError",
        None,
        "does not let you build without root",
        "native engine",
    ),
    "nothing known": ("Segmentation fault", "EngineError", None, "ended with exit code 255", "native engine"),
}
