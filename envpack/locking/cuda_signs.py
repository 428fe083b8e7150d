"""Signs of CUDA in one name, version, build string or address, conda's and pip's.

What they tell is ``None`` (nothing of CUDA), ``""`` (CUDA of any version), a series (``"12"``) or a version
(``"11.3"``).
"""

from __future__ import annotations

import re

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from envpack.locking.cuda_versions import known, pair

# conda packages whose version is CUDA's own.
_TOOLKIT = re.compile(r"cudatoolkit(-dev)?\Z|pytorch-cuda\Z|cuda\Z|cuda-[a-z0-9_-]+\Z|__cuda\Z")
_OTHER_VERSION = re.compile(r"cuda-(python|bindings|core|pathfinder|compat|opencl|gdb|samples)\Z")
# conda packages that exist for CUDA only; their versions tell nothing.
_FOR_GPUS = re.compile(
    r"(cudnn|nccl|cutensor|cupy(-core)?|cu(df|ml|graph|spatial|signal|cim|xfilter|vs)|rapids|dask-cu(da|df)|"
    r"libcu(blas|dart|fft|file|rand|solver|sparse|sparselt|dnn)[a-z0-9_-]*|magma-cuda\d+|nvidia-apex|"
    r"[a-z0-9_.-]+-gpu|nvidia-cuda-[a-z0-9-]+)\Z"
)
# py3.9_cuda11.3_cudnn8.2_0, cuda112py39h…, gpu_cuda124_…, py310_cu121, *cuda*, gpu_0, cuda12_1; but not
# nocuda, cuda_none, py35_cuda0.0_cudnn0.0_2 (of macOS)
_BUILD = re.compile(
    r"(?<!no)(?<!no_)cuda(?!_?none|0)_?(?P<version>\d+\.\d+|\d{2,3}(?!\d))?"
    r"|(?:^|[_*])cu(?P<digits>\d{2,3})(?!\d)"
)
_GPU_BUILD = re.compile(r"(?:^|[_*])gpu(?=$|[_*])")
_CPU_BUILD = re.compile(r"(?:^|_)cpu(?=$|[_\d])")
# PyPI: cupy-cuda12x, nvidia-cublas-cu12, dgl-cu113, jax-cuda12-plugin.
_NAMED = re.compile(r"(?:^|-)cu(?:da)?(?P<digits>\d{1,3})x?(?=$|-)")
# PyPI projects whose version is CUDA's own, and others for CUDA that have no number in their names.
_PROJECTS_OF_VERSION = re.compile(
    r"(cuda-(toolkit|python|bindings)|nvidia-cuda-(runtime|nvrtc|cupti|nvcc)(-cu\d+)?)\Z"
)
_PROJECTS = re.compile(
    r"(tensorflow-gpu|tf-nightly-gpu|onnxruntime-gpu|faiss-gpu|paddlepaddle-gpu|cupy|pycuda|tensorrt|"
    r"nvidia-c[a-z0-9-]+|[a-z]+-cuda)\Z"
)
_EXTRA = re.compile(r"(?:and-)?cuda(?P<digits>\d{0,3})(?:[-_]\w+)*\Z")
_LOCAL = re.compile(r"cu(?P<digits>\d{2,3})\Z")
_INDEX = re.compile(r"/cu(?P<digits>\d{2,3})/?\Z|cuda")


def in_match_spec(text: str) -> str | None:
    """What the match spec ``text`` tells."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    try:
        spec = MatchSpec(text)
    except InvalidMatchSpecError:
        return None
    return in_conda_package(spec.name.normalized, str(spec.version or ""), str(spec.build or ""))


def in_conda_package(name: str, version: str, build: str) -> str | None:
    """What a conda package tells; ``version`` may be a constraint and ``build`` a pattern."""
    match = _BUILD.search(build)
    from_build = _version(match["version"] or match["digits"] or "") if match else None
    if from_build is None and _GPU_BUILD.search(build):
        from_build = ""
    if _OTHER_VERSION.match(name):
        return from_build or ""
    if _TOOLKIT.match(name):
        return _own_version(version) or from_build or ""
    return from_build or "" if _FOR_GPUS.match(name) else from_build


def in_pip_line(text: str) -> str | None:
    """What the pip requirement ``text`` tells."""
    try:
        requirement = Pep508(text)
    except InvalidRequirement:
        return None
    name = canonicalize_name(requirement.name)
    pins = [s.version for s in requirement.specifier if s.operator in ("==", "===", "~=")]
    for pin in pins:
        if local := _LOCAL.match(pin.partition("+")[2]):
            return _version(local["digits"])
    if _PROJECTS_OF_VERSION.match(name) and pins and (own := re.match(r"\d+\.\d+", pins[0])):
        return own[0]
    if match := _NAMED.search(name):
        return _version(match["digits"])
    for extra in sorted(requirement.extras):
        if match := _EXTRA.match(extra):
            return _version(match["digits"])
    return "" if _PROJECTS.match(name) else None


def in_index(url: str) -> str | None:
    """What the address of a package index tells."""
    match = _INDEX.search(url)
    return _version(match["digits"] or "") if match else None


def is_cpu_build(version: str, build: str) -> bool:
    """Whether a package says that it is a build for the CPU, of one that has others."""
    return bool(_CPU_BUILD.search(build)) or version.endswith("+cpu")


def without_extras(text: str) -> str | None:
    """The pip requirement ``text`` without extras for CUDA; ``None`` where more than these tells of it."""
    requirement = Pep508(text)
    requirement.extras = {extra for extra in requirement.extras if not _EXTRA.match(extra)}
    return str(requirement) if in_pip_line(str(requirement)) is None else None


def _version(digits: str) -> str:
    """``113`` is 11.3, ``92`` is 9.2, ``12`` is the series 12; what has a point stays."""
    if "." in digits or len(digits) < 2:
        return digits
    if len(digits) == 3:
        return f"{digits[:2]}.{digits[2]}"
    return digits if digits[0] == "1" else f"{digits[0]}.{digits[1]}"


def _own_version(constraint: str) -> str:
    """The newest known CUDA version that ``constraint`` allows."""
    from rattler import Version, VersionSpec
    from rattler.exceptions import InvalidVersionSpecError

    if match := re.match(r"={0,2}\s*(\d+\.\d+)(?:\.[\d.*]+)?\*?\Z", constraint):
        return match[1] if pair(match[1]) >= pair(known()[-1]) else ""
    if not constraint or constraint == "*":
        return ""
    try:
        spec = VersionSpec(constraint)
    except InvalidVersionSpecError:
        return ""
    # Of cudatoolkit there is no 11.3 but 11.3.1.
    return next((v for v in known() if spec.matches(Version(v)) or spec.matches(Version(f"{v}.1"))), "")
