"""What README and docs claim, run: every command line, option, path, name and number in them."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import shlex
from collections.abc import Callable
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, get_args

import click
import pytest
from real import REAL as SCENARIOS

import bootstrap
from palace_lab.catalog import select
from palace_lab.cli import palace_lab as cli
from palace_lab.environments.catalog import newest_word, resolve_release
from palace_lab.errors import ExitCode
from palace_lab.judge.verdict import Name
from palace_lab.plan.text import parse_plan
from palace_lab.report.rundir import RunDirectory
from palace_lab.targets.drawers import DrawersTarget
from palace_store.fixes import KNOWN
from palace_store.server.command import parser as server_parser
from palace_store.shell import reset_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
LINES_MAX = 200  # without the table of all fixes
SCREEN_LINES = 55

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
#: Paths of the checkout as prose names them; `<name>` and `...` end one.
PATH = re.compile(r"(?<![\w/.~-])(?:lab|docs|scenarios|fixtures|tests|\.ci)/[\w./-]*")
#: What makes words in backticks a command line.
PROGRAMS = frozenset(
    {"nox", "palace-lab", "palace-server", "pip", "pytest", "python3", "sudo", "tox"}
)
#: The first word of a command line and, where it is known only from outside, nothing more.
TAKEN_ON_TRUST = frozenset({".", "export", "git", "lint-imports", "mypy", "ruff", "sudo"})


class Command(NamedTuple):
    page: str
    line: str


def prose(page: Path) -> str:
    """Return a page without fenced blocks and comments."""
    return COMMENT.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))


def quoted(page: Path) -> list[str]:
    """Return what a page sets in backticks outside of blocks, line breaks as blanks."""
    return [" ".join(words.split()) for words in re.findall(r"`([^`]+)`", prose(page))]


def commands() -> list[Command]:
    found: list[Command] = []
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.splitlines() if not language else ():
                found.extend(Command(page.name, part.strip()) for part in line.split("&&"))
        found.extend(Command(page.name, words) for words in quoted(page) if is_command(words))
    return [command for command in found if command.line]


def is_command(words: str) -> bool:
    """Tell whether what stands in backticks is a command line, and one without placeholders."""
    program, blank, _ = words.partition(" ")
    return bool(blank) and "<" not in words and program in PROGRAMS


COMMANDS = commands()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_line_is_understood(command: Command, pytestconfig: pytest.Config) -> None:
    program, *words = shlex.split(command.line, comments=True)
    if program == "python3" and words[0] == "lab/bootstrap.py":
        if words[1:2] not in ([], ["test"]):
            understand(words[1:])
    elif program in PARSED:
        PARSED[program](words)
    elif program == "pytest":
        understand_pytest(words, pytestconfig)
    elif program == "pip":
        assert words in (["install", "-e", ".[dev]"], ["install", "./lab/palace_store"])
        assert "dev" in metadata.metadata("palace-lab").get_all("Provides-Extra", [])
    elif program == "tox":
        assert words[:-1] in (["-e"], ["run", "-e"])
        assert set(words[-1].split(",")) <= tox_environments()
    elif program == "nox":
        assert words[0] == "-s"
        assert set(words[1:]) <= nox_sessions()
    elif program == "python3":
        assert words == ["-m", "venv", ".venv"]
    elif program == ".ci/run":
        assert (ROOT / program).stat().st_mode & 0o100
    else:
        assert program in TAKEN_ON_TRUST


def understand(words: list[str]) -> None:
    """Parse the words as `palace-lab` does, and look up what they name."""
    command: click.Command = cli
    context = click.Context(cli, info_name="palace-lab")
    while isinstance(command, click.Group) and words:
        word, *words = words
        known = command.get_command(context, word)
        assert known is not None, word
        command = known
    if not words:
        return  # the name of a command, not a call of it
    parsed = command.make_context(str(command.name), list(words), parent=context).params
    if command.name == "run":
        assert select(SCENARIOS, parsed["names"])
    elif command.name == "sweep":
        (listed,) = select(SCENARIOS, [parsed["name"]])
        assert parsed["role"] in {arm.role for arm in listed.scenario.arms()}
    elif command.name == "replay":
        understand_plan_path(parsed["plan_file"])
    one = parsed.get("release")
    for release in (*parsed.get("releases", ()), *([one] if one else [])):
        # Which release a word stands for is known only where the index was asked.
        assert newest_word(release) or resolve_release(release)


#: Options of the other commands there are.
LIBRARY_OPTIONS = {
    name
    for made in (server_parser(), reset_parser())
    for name in re.findall(r"--[a-z-]+", made.format_help())
}
#: What takes a command line apart, by the program that is called.
PARSED: dict[str, Callable[[list[str]], object]] = {
    "palace-lab": understand,
    "palace-server": lambda words: server_parser().parse_args(words),
}


def understand_plan_path(path: Path) -> None:
    """Check that a run writes a plan of that name, of a trial it makes."""
    if path.parent == Path():
        assert path.name in README.replace(str(path), "", 1), "a file the page tells to save first"
        return
    if (ROOT / path).is_file():
        parse_plan((ROOT / path).read_bytes(), str(path))
        return
    stem, release, arm, index = path.stem.split("--")
    (listed,) = select(SCENARIOS, [stem.replace("+", "/")])
    assert release in listed.scenario.releases
    assert arm in {each.role for each in listed.scenario.arms()}
    directory = RunDirectory(Path("reports/latest"))
    assert path == directory.plan_path(listed.name, release, arm, int(index))


def understand_pytest(words: list[str], config: pytest.Config) -> None:
    for word, following in itertools.zip_longest(words, words[1:]):
        if word == "--palace-release" and following != "X":
            resolve_release(following)
        elif word.startswith("--"):
            config.getoption(word)  # raises for one that nobody defines
        elif word in ("tests", "scenarios"):
            assert (ROOT / word).is_dir()


def tox_environments() -> set[str]:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    found = set()
    for section in parser.sections():
        prefix, brace, rest = section.removeprefix("testenv:").partition("{")
        inside = rest.rstrip("}").split(",") if brace else [""]
        found |= {prefix + each.strip() for each in inside}
    return found


def nox_sessions() -> set[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_is_there(page: Path) -> None:
    text = COMMENT.sub("", page.read_text(encoding="utf-8"))
    paths = {path.rstrip(".") for path in PATH.findall(text)}
    paths |= set(re.findall(r"\b(?:[A-Z]{5,}\.md|pyproject\.toml)\b", text))
    assert [path for path in sorted(paths) if not exists(path)] == []


def exists(path: str) -> bool:
    """Tell whether a path is there; one that a placeholder cut off may end in mid-name."""
    parent, _, start = path.rpartition("/")
    return (ROOT / path).exists() or (
        start.endswith("_") and any((ROOT / parent).glob(f"{start}*"))
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_scenario_named_exists(page: Path) -> None:
    named = set(re.findall(r"`(?:s[0-4]|hops)/[a-z0-9-]+`", page.read_text(encoding="utf-8")))
    assert {name.strip("`") for name in named} <= {each.name for each in SCENARIOS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_in_the_text_exists(page: Path, pytestconfig: pytest.Config) -> None:
    known = {name: each for command in every_command(cli) for name, each in options(command)}
    for words in quoted(page):
        name, _, value = words.partition(" ")
        if name.startswith("--palace-"):
            pytestconfig.getoption(name)
        elif name.startswith("--") and name not in LIBRARY_OPTIONS:
            assert name in known
            if value and not value.isupper():
                known[name].type.convert(value, known[name], None)


def every_command(command: click.Command) -> list[click.Command]:
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return [command, *(each for child in inner for each in every_command(child))]


def options(command: click.Command) -> list[tuple[str, click.Parameter]]:
    return [(name, parameter) for parameter in command.params for name in parameter.opts]


@pytest.mark.parametrize("system", ["s0", "s1", "s2", "s3", "s4"])
def test_each_system_has_a_page_of_one_screen(system: str) -> None:
    (measured,) = (page for page in PAGES if page.name == f"{system}-measured.md")
    (page,) = (page for page in PAGES if page.name.startswith(f"{system}-") and page != measured)
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= SCREEN_LINES
    for part in ("**Report**", "**Cause", "**Fix here", "**What the lab found**", "palace-lab run"):
        assert part in text, part
    assert f"docs/{measured.name}" in text
    assert f"docs/{page.name}" in measured.read_text(encoding="utf-8")


def test_every_scenario_is_measured_on_a_page_of_its_system() -> None:
    for listed in SCENARIOS:
        pages = [page for page in PAGES if page.stem.partition("-")[0] == listed.system]
        wanted = f"`palace-lab run {listed.name}`"
        assert any(wanted in page.read_text("utf-8") for page in pages), (
            f"{' or '.join(page.name for page in pages)} in docs/ has no row with {wanted}: "
            "add one with what came of it"
        )


def test_readme_names_for_every_fix_what_the_page_of_the_ablation_names() -> None:
    page = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    said = {
        name: re.findall(r"`(s\d/[\w-]+)`|(not shown to be needed \(0 of \d+\))", rest)
        for name, rest in re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", README, re.MULTILINE)
    }
    assert list(said) == list(KNOWN)
    measured = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    for name, found in said.items():
        assert found, name
        for scenario, unneeded in found:
            assert (scenario or unneeded.rstrip(")").partition("(")[2]) in measured[name], name


def test_the_page_of_the_ablation_has_a_row_for_every_fix() -> None:
    page = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    assert [name for name, _ in rows] == list(KNOWN)
    known = {listed.name for listed in SCENARIOS}
    for name, said in rows:
        named = set(re.findall(r"\b(?:s\d|hops)/[a-z0-9-]+", said))
        assert named <= known, f"{name}: {named - known}"
        assert named or "not shown to be needed" in said, name


def test_every_fix_is_explained_on_a_page() -> None:
    explained = {words for page in PAGES if page.name[0] == "s" for words in quoted(page)}
    assert set(KNOWN) - explained == set()


def test_who_listens_beyond_this_machine_is_told_that_any_name_is_answered() -> None:
    told = " ".join(server_parser().format_help().split())
    assert "another address answers whatever Host they name, to whoever reaches it" in told


def test_the_verdicts_are_those_of_the_judge() -> None:
    listed = re.findall(r"^\| `([A-Z ]+)` \|", README, re.MULTILINE)
    assert sorted(listed) == sorted(get_args(Name))


def test_the_exit_codes_are_those_of_the_lab_in_the_words_of_its_help() -> None:
    said = [
        re.search(r"Exit codes: (.*?)\.(?: |$)", " ".join(text.split()))
        for text in (README, str(cli.help))
    ]
    assert said[0]
    assert said[1]
    assert said[0][1] == said[1][1]
    codes = [int(words.split()[0]) for words in said[0][1].split(" · ")]
    assert codes == sorted(ExitCode)


def test_the_scenario_shown_is_the_file() -> None:
    shown = re.search(
        r"all of `(scenarios/[\w/]+\.py)`:\n\n```python\n(.*?)^```$",
        README,
        re.MULTILINE | re.DOTALL,
    )
    assert shown
    assert shown[2] == (ROOT / shown[1]).read_text(encoding="utf-8")


def test_the_plan_shown_is_a_plan_of_known_targets() -> None:
    ((block,),) = [[text] for language, text in FENCE.findall(README) if language == "json"]
    plan = parse_plan(block.encode(), "README.md")
    assert json.loads(block)["version"] == plan.version
    resolve_release(plan.release)
    for target in (plan.target, *plan.observers):
        assert (ROOT / "lab" / "palace_lab" / "targets" / f"{target}.py").is_file()
    assert plan.process_names() == ["left", "right"]


def test_the_primitives_are_those_a_target_has_to_write() -> None:
    listed = re.search(r"write its\nprimitives: ((?:`\w+`,?\s*)+)\.", README)
    assert listed
    abstract = [
        name
        for name, method in vars(DrawersTarget).items()
        if inspect.isfunction(method) and "raise NotImplementedError" in inspect.getsource(method)
    ]
    assert re.findall(r"`(\w+)`", listed[1]) == abstract


def test_the_variables_are_read_somewhere() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "lab").rglob("*.py"))
    for variable in set(re.findall(r"`(PALACE_\w+)`", README)):
        assert f'"{variable}"' in code


def test_the_two_commands_come_first_and_the_bootstrap_knows_them() -> None:
    first = FENCE.findall(README)[0][1].splitlines()
    assert first == ["python3 lab/bootstrap.py run", "python3 lab/bootstrap.py test"]
    for line in first:
        assert re.search(
            rf"^\s+(?:usage: )?(?:python3 lab/bootstrap.py |){line.split()[2]} ",
            f"  {bootstrap.USAGE}",
            re.MULTILINE,
        )
        assert f"\n{line}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_python_versions_are_those_of_the_project() -> None:
    required = metadata.metadata("palace-lab")["Requires-Python"]
    assert sorted(required.split(",")) == ["<3.14", ">=3.10"]
    assert "Python 3.10 to 3.13" in README


def test_it_stays_a_page() -> None:
    assert len(README.splitlines()) - len(KNOWN) <= LINES_MAX
    assert "![" not in README
