"""Print the counts that this project watches: python tools/house.py [ROOT]

Long files and functions, import cycles, names that several modules define, places that parse a method, and files that name a
metric. ROOT is the repository, or another checkout of it to compare with.
"""

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGES = ("robustkd", "scenarios", "pipelines")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 40
HOOKS = {"main", "forward"}  # names that many modules define on purpose
# Where a method's text may be parsed: the parser itself (`robustkd.build` in older checkouts), and scenarios, which are chained
# with the same character.
PARSERS = ("robustkd.method_spec", "robustkd.build", "robustkd.registry", "scenarios")
METRIC_FOLDERS = ("robustkd", "pipelines")


@dataclass(frozen=True)
class Module:
    """A parsed source file."""

    name: str  # dotted
    path: Path
    tree: ast.Module
    lines: int


def load_modules(root: Path) -> dict[str, Module]:
    """Parse the packages below a checkout's root; modules by their dotted names."""
    modules = {}
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = Module(name, path.relative_to(root), ast.parse(text), len(text.splitlines()))
    return modules


def long_files(modules: Mapping[str, Module]) -> dict[str, int]:
    """Return the files with too many lines, with their lengths."""
    return {str(module.path): module.lines for module in modules.values() if module.lines > MAX_FILE_LINES}


def long_functions(modules: Mapping[str, Module]) -> dict[str, int]:
    """Return the functions with too many lines, with their lengths."""
    lengths = {
        f"{module.path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}


def iter_runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Iterate over a tree without the blocks that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from iter_runtime_nodes(node)
        else:
            for other in node.orelse:
                yield other
                yield from iter_runtime_nodes(other)


def list_imports(tree: ast.AST, modules: Mapping[str, Module], *, typing: bool = False) -> set[str]:
    """Return the project's modules that a file imports, at its top or inside functions.

    `from package import name` imports the module package.name if there is one, and package itself otherwise.

    Args:
        typing: include what is imported for type checkers only.
    """
    names: set[str] = set()
    for node in ast.walk(tree) if typing else iter_runtime_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                names.add(below if below in modules else node.module)
    return names & modules.keys()


def import_graph(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    return {name: list_imports(module.tree, modules) - {name} for name, module in modules.items()}


def import_cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return import cycles that do not share an import: each begins and ends with the same module."""
    remaining = {name: set(imports) for name, imports in graph.items()}
    cycles: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(remaining).prepare()
            return cycles
        except CycleError as error:
            cycle: list[str] = error.args[1][::-1]  # graphlib lists a module before those that import it
            cycles.append(cycle)
            remaining[cycle[0]].discard(cycle[1])


def repeated_names(modules: Mapping[str, Module]) -> dict[str, list[str]]:
    """Return the top-level functions and classes that several modules define, with the modules."""
    owners: dict[str, list[str]] = defaultdict(list)
    for name, module in modules.items():
        defined = {node.name for node in module.tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for definition in defined - HOOKS:
            owners[definition].append(name)
    return {definition: names for definition, names in sorted(owners.items()) if len(names) > 1}


def parse_sites(modules: Mapping[str, Module]) -> list[str]:
    """Return the places that parse a method's text, whatever the parser is called in this checkout."""
    return [
        f"{module.path}:{node.lineno}"
        for module in modules.values()
        if not module.name.startswith(PARSERS)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and parses_method(node)
    ]


def parses_method(call: ast.Call) -> bool:
    """Whether a call parses a method with its criterion, or takes its text apart."""
    function = ast.unparse(call.func)
    splits_at_plus = function.split(".")[-1] in ("split", "split_at", "partition", "rpartition") and any(
        isinstance(argument, ast.Constant) and argument.value == "+" for argument in call.args
    )
    return splits_at_plus or function in ("MethodSpec.parse", "METHODS.parse", "METHODS.read", "build.read")


def metric_files(modules: Mapping[str, Module], metrics: set[str]) -> Counter[str]:
    """Return in how many files each metric's name is a string constant."""
    files: Counter[str] = Counter(dict.fromkeys(sorted(metrics), 0))
    for module in modules.values():
        if module.name.startswith(METRIC_FOLDERS):
            nodes = (node for node in ast.walk(module.tree) if isinstance(node, ast.Constant))
            files.update({node.value for node in nodes if isinstance(node.value, str)} & metrics)
    return files


def list_metrics() -> set[str]:
    """Return the names of the metrics of this repository, also when another checkout is inspected."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from robustkd.evaluation.metric_table import METRICS

    return set(METRICS)


def format_counts(counts: Mapping[str, int]) -> str:
    """Format the largest counts in one line."""
    largest = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count}" for name, count in largest[:8]) + (", ..." if len(largest) > 8 else "")


def describe_counts(modules: Mapping[str, Module]) -> str:
    """Return the counts of a checkout's modules, one per line."""
    functions, files = long_functions(modules), long_files(modules)
    cycles, names, sites = import_cycles(import_graph(modules)), repeated_names(modules), parse_sites(modules)
    metrics = metric_files(modules, list_metrics())
    parsing = Counter(site.rpartition(":")[0] for site in sites)
    return "\n".join(
        (
            f"{len(modules)} files, {sum(module.lines for module in modules.values())} lines",
            f"files over {MAX_FILE_LINES} lines: {len(files)}  {format_counts(files)}",
            f"functions over {MAX_FUNCTION_LINES} lines: {len(functions)}  {format_counts(functions)}",
            f"import cycles: {len(cycles)}  {'; '.join(' -> '.join(cycle) for cycle in cycles[:4])}",
            f"names defined in several modules: {len(names)}  {format_counts({n: len(m) for n, m in names.items()})}",
            f"places that parse a method's text: {len(sites)} in {len(parsing)} files  {format_counts(parsing)}",
            f"files that name a metric: {sum(metrics.values())} for {len(metrics)} metrics,"
            f" at most {max(metrics.values())}  {format_counts(metrics)}",
        )
    )


if __name__ == "__main__":
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    print(describe_counts(load_modules(root.resolve())))
