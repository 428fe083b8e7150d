"""The design's one rule of structure: a module imports only from what stands below it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "envpack"

# Foundations and models, in order: each may import those before it.
ORDERED = [
    "errors", "platforms", "process", "progress", "atomic", "config",
    "http_errors", "http_client", "download", "entry", "image", "image_settings", "ledger", "markers",
    "yaml_nodes", "spec", "lockfile", "recipe", "cache",
]  # fmt: skip
# Above them whole layers: a unit imports lower layers and itself, never a sibling.
LAYERS = [
    {"sources", "locking", "bases", "recipes", "content", "formats", "namespace"},
    {"engines"},
    {"run", "verify", "report", "footprint", "ship"},
    {"pipeline"},
    {"cli"},
    {"__main__"},
]
RANK = {name: (0, i) for i, name in enumerate(ORDERED)} | {
    name: (1 + i, 0) for i, layer in enumerate(LAYERS) for name in layer
}


def imports(path: Path) -> set[str]:
    """The units of envpack (``errors``, ``formats``, …) that a module imports, anywhere in its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names = [f"envpack.{a.name}" for a in node.names] if module == "envpack" else [module]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("envpack.")}
    return found - {"__version__"}


def test_every_import_points_down() -> None:
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        unit = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if unit == "__init__":
            assert not imports(path), "the package itself imports nothing"
            continue
        assert unit in RANK, f"{unit} has no place in the layers: give it one in ORDERED or LAYERS"
        wrong += [f"{unit} imports {u}" for u in imports(path) - {unit} if not RANK[u] < RANK[unit]]
    assert not wrong, wrong
