"""Rules of CONTRIBUTING as functions from source text to a list of complaints: budgets, and what an import reaches.

The order of the rooms is a contract in pyproject.toml, which import-linter checks.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "calque"

MAX_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS = 300, 60, 8


@dataclass(frozen=True)
class Import:
    """Hold one imported name, dotted, and whether it is imported when the module is, or only for types."""

    name: str
    at_module_level: bool
    only_for_types: bool


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name of the module in `path`, where `root` holds the package."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(root: Path) -> dict[str, str]:
    """Return the text of every module by name; a package's own has the ending `.__init__`."""
    return {
        module_name(path, root) + (".__init__" if path.name == "__init__.py" else ""): path.read_text("utf-8")
        for path in sorted((root / PACKAGE).rglob("*.py"))
    }


def imports(module: str, text: str) -> Iterator[Import]:
    """Yield every import of a module, those inside functions too; `from a import b` counts as a and as a.b."""
    yield from _imports(ast.parse(text), module.split("."), False, False)


def check_budgets(module: str, text: str) -> list[str]:
    """Return what is too long: the file, a function, a list of arguments."""
    complaints = []
    if (lines := len(text.splitlines())) > MAX_LINES:
        complaints.append(f"{module}: {lines} lines")
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assert node.end_lineno is not None
        if (length := node.end_lineno - node.lineno + 1) > MAX_FUNCTION_LINES:
            complaints.append(f"{module}:{node.lineno}: {node.name} has {length} lines")
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
        # The options of the command line are arguments, there and in Python.
        if count > MAX_ARGUMENTS and _part(module) not in ("cli", "api"):
            complaints.append(f"{module}:{node.lineno}: {node.name} has {count} arguments")
    return complaints


def closure(start: str, texts: dict[str, str]) -> dict[str, str]:
    """Return every name imported when `start` is, each with the module that imports it; library code is not read."""
    reached: dict[str, str] = {}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        key = module if module in texts else f"{module}.__init__"
        if key not in texts:
            continue
        names = [found.name for found in imports(key, texts[key]) if found.at_module_level and not found.only_for_types]
        for name in names + ([module.rpartition(".")[0]] if "." in module else []):
            if name not in reached:
                reached[name] = module
                waiting.append(name)
    return reached


def _imports(node: ast.AST, module: list[str], in_function: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types = for_types or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        for name in _names(child, module):
            yield Import(name, not inside, types)
        yield from _imports(child, module, inside, types)


def _names(node: ast.AST, module: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        start = ".".join([*module[: len(module) - node.level], *([node.module] if node.module else [])])
        start = start if node.level else str(node.module)
        # `from calque import rows` names a module, and means no import of the whole package.
        below = [f"{start}.{alias.name}" for alias in node.names]
        return below if start == PACKAGE else [start, *below]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        return [str(node.args[0].value)] if called in ("import_module", "__import__") else []
    return []


def _part(module: str) -> str:
    """Return the part of the package that a module belongs to, or nothing for the package itself."""
    parts = [part for part in module.split(".")[1:] if part != "__init__"]
    return parts[0] if parts else ""
