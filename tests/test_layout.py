"""What the checkout looks like: its top level, the shape of its modules, what no file may hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import palace_lab

ROOT = Path(__file__).parents[1]
TOP_LEVEL = (
    *("pyproject.toml", "lab", "scenarios", "fixtures", "reports", "tox.ini", "noxfile.py"),
    *(
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "docs",
        "tests",
        ".ci/run",
        ".github",
    ),
)
TREES = ("lab", "scenarios", "fixtures", "tests", "docs", ".ci", ".github")
TEXT = frozenset({".py", ".md", ".toml", ".ini", ".txt", ".json", ".cfg", ".yml", ".yaml", ""})

LINES_MAX = 250
#: Modules that are longer, with their own limit and the reason.
LONGER = {
    "lab/palace_lab/processes/tracer.py": (275, "one state machine, which falls apart if cut"),
}
#: Hosts a file may name: those that exist nowhere, and this machine.
HOSTS = re.compile(r"https?://(?!localhost|127\.0\.0\.1|[\w.-]*\.(?:invalid|example|test)\b)")
#: Directories that exist on one machine only.
PRIVATE_PATHS = re.compile(r"(?<![\w.*~-])/(?:root|home|work|Users)/\w")
#: Put together here so that this file does not hold what it forbids.
UNFINISHED = re.compile("|".join(rf"\b{a}{b}\b" for a, b in (("TO", "DO"), ("FIX", "ME"))))
BROAD = frozenset({"Exception", "BaseException"})


def files() -> Iterator[Path]:
    """Yield what a clone holds, of the trees people write in."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for tree in TREES:
        for path in sorted((ROOT / tree).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = sorted(files())
TEXTS = [path for path in FILES if path.suffix in TEXT and path.name != "LICENSE"]
MODULES = [path for path in FILES if path.suffix == ".py"]
SHIPPED = [path for path in MODULES if not name(path).startswith("tests/")]
SCENARIOS = [path for path in MODULES if name(path).startswith("scenarios/")]


@pytest.mark.parametrize("entry", TOP_LEVEL)
def test_the_top_level_is_there(entry: str) -> None:
    assert (ROOT / entry).exists()


def test_the_walk_finds_what_it_is_about() -> None:
    assert len(SHIPPED) > 100
    assert len(SCENARIOS) > 10
    assert Path(__file__).resolve() in MODULES


@pytest.mark.parametrize("module", SHIPPED, ids=name)
def test_a_module_is_short_enough_to_be_read(module: Path) -> None:
    limit, _ = LONGER.get(name(module), (LINES_MAX, ""))
    assert len(module.read_text(encoding="utf-8").splitlines()) <= limit


@pytest.mark.parametrize("exception", LONGER)
def test_an_exception_to_the_length_is_still_needed(exception: str) -> None:
    lines = len((ROOT / exception).read_text(encoding="utf-8").splitlines())
    assert lines > LINES_MAX, "it is short enough now: take it off the list"


@pytest.mark.parametrize("module", SHIPPED, ids=name)
def test_a_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_no_error_is_swallowed_whole(module: Path) -> None:
    assert swallowed(module.read_text(encoding="utf-8")) == []


def test_swallowing_is_seen() -> None:
    assert swallowed("try:\n    f()\nexcept Exception:\n    pass\n") == [3]
    assert swallowed("try:\n    f()\nexcept (ValueError, Exception) as e:\n    ...\n") == [3]
    assert swallowed("try:\n    f()\nexcept:\n    pass\n") == [3]
    assert swallowed("with contextlib.suppress(Exception):\n    f()\n") == [1]
    assert swallowed("try:\n    f()\nexcept OSError:\n    pass\n") == []
    assert swallowed("try:\n    f()\nexcept Exception:\n    raise\n") == []


def swallowed(source: str) -> list[int]:
    """Return the lines where whatever goes wrong is passed over in silence."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            if is_broad(node.type) and all(map(says_nothing, node.body)):
                found.append(node.lineno)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).split(".")[-1] == "suppress"
            and any(map(is_broad, node.args))
        ):
            found.append(node.lineno)
    return found


def is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(is_broad, caught.elts))
    return caught is None or ast.unparse(caught).split(".")[-1] in BROAD


def says_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_no_file_is_unfinished_or_tied_to_one_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = [
        match.group()
        for pattern in (UNFINISHED, HOSTS, PRIVATE_PATHS)
        for match in pattern.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (UNFINISHED, "# " + "TO" + "DO: later"),
        (HOSTS, "https:" + "//mirror.firm.com/simple"),
        (PRIVATE_PATHS, "see /" + "home/somebody/x"),
    ],
)
def test_the_patterns_find(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
def test_no_scenario_sleeps(scenario: Path) -> None:
    tree = ast.parse(scenario.read_text(encoding="utf-8"))
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names
    }
    assert words.isdisjoint({"sleep", "time"})


def test_the_version_is_one_and_the_changelog_has_it() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{palace_lab.__version__}"\n' in project
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(palace_lab.__version__)}\b", changelog, re.MULTILINE)


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    dev = re.search(r"^dev = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert block
    assert dev
    decisions = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    reasons = decisions.partition("## Dependencies")[2].partition("**Left out.**")[0]
    needed = re.findall(r'^\s+"([A-Za-z0-9_-]+)', block[1] + dev[1], re.MULTILINE)
    assert len(needed) > 10
    assert [each for each in needed if not re.search(rf"\b{each}\b", reasons)] == []
