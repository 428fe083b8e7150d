"""Which requests are for CUDA, what driver they need, and that no build for the CPU comes silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.errors import EnvpackError, Location, UsageError
from envpack.ledger import Action, Ledger
from envpack.locking import cuda, cuda_signs
from envpack.locking.cuda_versions import known, newest, own_driver
from envpack.locking.pip_solver import PipRecord
from envpack.locking.solver import CondaRecord, virtual_packages
from envpack.spec import EnvSpec, OwnIndex, PipOptions, Requirement


def spec(*conda: str, pip: tuple[str, ...] = (), options: PipOptions | None = None) -> EnvSpec:
    places = (Location("environment.yml", n) for n in range(1, 100))
    return EnvSpec(
        "e",
        conda=tuple(Requirement(text, next(places)) for text in conda),
        pip=tuple(Requirement(text, next(places)) for text in pip),
        pip_options=options or PipOptions(),
    )


def conda(name: str, version: str, build: str) -> CondaRecord:
    return CondaRecord(name, version, build, f"https://host/{name}", None, None, None, None, ())


def pip(name: str, version: str) -> PipRecord:
    return PipRecord(name, version, f"https://host/{name}", "", None, None)


def said(ledger: Ledger) -> list[tuple[Action, str]]:
    return [(finding.action, finding.subject) for finding in ledger]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cudatoolkit=11.3", "11.3"),
        ("cudatoolkit ==10.1.243 h6bb024c_0", "10.1"),
        ("cudatoolkit >=11.2,<12", "11.8"),
        ("cudatoolkit=11", "11.8"),
        ("cudatoolkit", ""),
        ("cuda-version=12.5=3", "12.5"),
        ("pytorch-cuda=12.1", "12.1"),
        ("nvidia/label/cuda-12.1.1::cuda-toolkit", ""),
        ("cuda-cudart=12.1.105=0", "12.1"),
        ("cuda-pathfinder=1.6.0", ""),
        ("pytorch=*=*cuda*", ""),
        ("pytorch=1.10=*cuda11*", "11"),
        ("pytorch ==1.10.0 py3.9_cuda11.3_cudnn8.2.0_0", "11.3"),
        ("pytorch ==1.3.1 cuda100py36h53c1284_0", "10.0"),
        ("libtorch=2.5.1=gpu_cuda124_hf726350_304", "12.4"),
        ("pyg=2.5.2=py310_torch_2.2.0_cu121", "12.1"),
        ("cupy ==7.0.0 cuda92py36h0_0", "9.2"),
        ("cudnn=9.1.1.17=cuda12_1", "12"),
        ("_pytorch_select=0.2=gpu_0", ""),
        ("tensorflow-gpu=2.4", ""),
        ("cudf", ""),
        ("pytorch", None),
        ("pytorch ==2.5.1 cpu_generic_py312h0_1", None),
        ("gromacs ==2024 nompi_nocuda_0", None),
        ("magma ==1 cuda_none_0", None),
        ("pytorch ==0.3.1 py35_cuda0.0_cudnn0.0_2", None),
        ("numpy ==1.26.4 py312h2809609_0", None),
    ],
)
def test_signs_in_match_specs(text: str, told: str | None) -> None:
    assert cuda_signs.in_match_spec(text) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("torch==2.1.0+cu121", "12.1"),
        ("torch==1.4.0+cu92", "9.2"),
        ("torch==2.1.0+cpu", None),
        ("torch==2.1.0", None),
        ("jax[cuda12]", "12"),
        ("jax[cuda12_pip]==0.4.20", "12"),
        ("jax[cuda]", ""),
        ("tensorflow[and-cuda]", ""),
        ("tensorflow_gpu==2.4", ""),
        ("cupy-cuda113", "11.3"),
        ("cupy-cuda12x==14.0.1", "12"),
        ("nvidia-cublas-cu12==12.4.5.8", "12"),
        ("nvidia-cuda-runtime-cu12==12.4.127", "12.4"),
        ("nvidia-cudnn", ""),
        ("dgl-cu111", "11.1"),
        ("nvidia-ml-py==13.6", None),
        ("rich", None),
    ],
)
def test_signs_in_pip_lines(text: str, told: str | None) -> None:
    assert cuda_signs.in_pip_line(text) == told


@pytest.mark.parametrize(
    ("version", "floor"),
    [
        ("13.1", "580"),
        ("12.4", "525.60.13"),
        ("11.3", "450.80.02"),
        ("11.0", "450.51.05"),
        ("10.2", "440.33"),
        ("9.1", "390.46"),
        ("6.5", "352.31"),
        ("99.0", "580"),
    ],
)
def test_driver_floors(version: str, floor: str) -> None:
    assert cuda.driver_floor(version) == floor


def test_the_table_is_in_order() -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(".")]

    drivers = [own_driver(version) or "" for version in known()]
    assert sorted(known(), key=numbers, reverse=True) == list(known())
    assert sorted(drivers, key=numbers, reverse=True) == drivers
    assert all(numbers(cuda.driver_floor(v)) <= numbers(own_driver(v) or "") for v in known())


def test_the_newest_version_that_is_named_counts() -> None:
    asks = cuda.implied(spec("cuda-version=12.5", "pytorch-cuda=12.1", pip=("nvidia-nccl-cu13",)))
    assert asks == cuda.Implied("12.5", Location("environment.yml", 1), "cuda-version=12.5")
    asks = cuda.implied(spec("numpy", pip=("jax[cuda12]",)))
    assert asks is not None
    assert (asks.version, asks.exact) == (newest("12"), False)
    assert cuda.implied(spec("numpy", "pytorch", pip=("torch",))) is None


def test_an_index_of_cuda_wheels_is_a_request() -> None:
    options = PipOptions(extra_index_urls=("https://download.pytorch.org/whl/cu118",))
    asks = cuda.implied(spec("python", pip=("torch",), options=options))
    assert asks is not None
    assert asks.version == "11.8"
    assert cuda.implied(spec(pip=("torch",), options=PipOptions("https://host/simple"))) is None


def test_the_version_is_guessed_and_said_with_its_driver() -> None:
    ledger = Ledger()
    assert cuda.settle(spec("cudatoolkit=11.3"), None, ledger)[1] == "11.3"
    (finding,) = ledger
    assert (finding.action, finding.subject) == (Action.GUESSED, "CUDA 11.3")
    assert "450.80.02" in finding.reason
    assert "465.19.01" in finding.reason
    assert finding.where == Location("environment.yml", 1)
    assert cuda.settle(spec("cupy"), None, Ledger())[1] == known()[0]
    assert cuda.settle(spec("numpy"), None, Ledger())[1] is None


def test_what_the_user_gives_wins() -> None:
    ledger = Ledger()
    assert cuda.settle(spec("cudatoolkit=11.3"), "12.4", ledger)[1] == "12.4"
    assert cuda.settle(spec("numpy"), "12", ledger)[1] == newest("12")
    assert said(ledger) == []
    assert cuda.settle(spec("cudatoolkit=11.3"), "11.2", ledger)[1] == "11.2"
    assert said(ledger) == [(Action.NEEDS_YOU, "cudatoolkit=11.3")]
    for wrong in ("", "new", "12.x", "cuda12"):
        with pytest.raises(UsageError):
            cuda.settle(spec("numpy"), wrong, Ledger())


def test_none_asks_for_builds_without_cuda() -> None:
    ledger = Ledger()
    url = "https://download.pytorch.org/whl/cu121"
    own = tuple(OwnIndex(name, url) for name in ("torch", "torchvision"))
    options = PipOptions(extra_index_urls=(url,), own_indexes=own)
    asked = spec(
        "python=3.11",
        "pytorch::pytorch ==2.1.0 py3.11_cuda12.1_cudnn8.9.2_0",
        "pytorch-cuda=12.1",
        pip=("torchvision==0.16.0+cu121", "jax[cuda12]", "nvidia-cublas-cu12", "rich"),
        options=options,
    )
    changed, version = cuda.settle(asked, "none", ledger)
    assert version is None
    assert [r.text for r in changed.conda] == ["python=3.11", "pytorch::pytorch ==2.1.0"]
    assert [r.text for r in changed.pip] == ["torchvision==0.16.0+cpu", "jax", "rich"]
    assert changed.pip_options.addresses == ("https://download.pytorch.org/whl/cpu",)
    assert cuda.implied(changed) is None
    assert said(ledger) == [
        (Action.RELAXED, "pytorch::pytorch ==2.1.0 py3.11_cuda12.1_cudnn8.9.2_0"),
        (Action.DROPPED, "pytorch-cuda=12.1"),
        (Action.REPLACED, "torchvision==0.16.0+cu121"),
        (Action.REPLACED, "jax[cuda12]"),
        (Action.DROPPED, "nvidia-cublas-cu12"),
        (Action.REPLACED, "https://download.pytorch.org/whl/cu121"),
    ]


def test_a_build_for_the_cpu_is_said() -> None:
    ledger = Ledger()
    asked = spec("pytorch", "cudatoolkit=11.3")
    on_cpu = [conda("pytorch", "1.10.0", "cpu_py39h0_0"), conda("cudatoolkit", "11.3.1", "h0_10")]
    cuda.check(asked, on_cpu, ledger, platform="linux-64")
    assert said(ledger) == [(Action.NEEDS_YOU, "pytorch 1.10.0 cpu_py39h0_0")]
    ledger = Ledger()
    cuda.check(asked, [conda("pytorch", "1.10.0", "cuda113py39h0_0")], ledger, platform="linux-64")
    assert said(ledger) == []


def test_no_package_for_cuda_is_said() -> None:
    ledger = Ledger()
    cuda.check(spec("pytorch=*=*gpu*"), [conda("pytorch", "1.10.0", "py39h0_0")], ledger, platform="linux-64")
    assert said(ledger) == [(Action.NEEDS_YOU, "pytorch=*=*gpu*")]
    ledger = Ledger()
    cuda.check(spec(pip=("torch==2.1.0+cu121",)), [pip("torch", "2.1.0+cu121")], ledger, platform="linux-64")
    cuda.check(spec(pip=("jax[cuda12]",)), [pip("nvidia-cublas-cu12", "12")], ledger, platform="linux-64")
    cuda.check(spec("numpy"), [conda("pytorch", "1.10.0", "cpu_py39h0_0")], ledger, platform="linux-64")
    assert said(ledger) == []


def test_cuda_where_none_is_wanted_is_said() -> None:
    ledger = Ledger()
    records = [pip("torch", "2.1.0"), pip("nvidia-cublas-cu12", "12"), pip("rich", "13")]
    cuda.check(spec(pip=("torch",)), records, ledger, platform="linux-64", wanted="none")
    assert said(ledger) == [(Action.NEEDS_YOU, "torch 2.1.0"), (Action.NEEDS_YOU, "nvidia-cublas-cu12 12")]


def test_the_virtual_package() -> None:
    def offered(version: str | None) -> dict[str, str]:
        return {p.name.normalized: str(p.version) for p in virtual_packages("linux-64", "2.36", version)}

    assert offered("12.4")["__cuda"] == "12.4"
    assert "__cuda" not in offered(None)


def test_real_requests(corpus: Path) -> None:
    """What people ask of CUDA, in files from the field that are read."""
    from envpack import sources

    expected = {"007": "12.1", "018": "12.4", "022": "12.4", "050": "11.6", "184": "12.6", "176": None}
    found = {}
    for number in expected:
        (path,) = [p for p in (corpus / number).iterdir() if p.is_file()]
        try:
            read = sources.read(str(path), directory=path.parent, ledger=Ledger())
        except EnvpackError:
            continue
        asks = cuda.implied(read)
        found[number] = asks.version if asks else None
    assert len(found) >= 4
    assert found == {number: expected[number] for number in found}
