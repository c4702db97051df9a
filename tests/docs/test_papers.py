"""Papers say what the code does: generated tables are fresh, and closed lists are complete."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from turnwise import names
from turnwise.errors import Reason
from turnwise.proxy import commands as cli
from turnwise.settings import Edits

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAPERS = (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "deploy/README.md", *sorted(DOCS.rglob("*.md")))
MAKE_COMMAND = re.compile(r"\bmake ([a-z][a-z-]*)\b")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
HISTOGRAM_SUFFIX = re.compile(r"_(bucket|sum|count)$")
FIRST_CELL = re.compile(r"^\| `([a-z_.]+)` \|", re.MULTILINE)


def load_tables():
    spec = importlib.util.spec_from_file_location("docs_tables", Path(__file__).with_name("tables.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load_tables()


def read(name):
    return (DOCS / name).read_text(encoding="utf-8")


def make_targets():
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("paper", tables.PAPERS, ids=lambda paper: paper.name)
def test_tables_made_from_code_are_fresh(paper):
    text = paper.read_text(encoding="utf-8")
    assert tables.PART.search(text), "the markers are gone"
    assert tables.renewed(text) == text, "run `make docs`"


def test_the_metrics_paper_names_every_metric_and_no_other():
    spoken_of = {HISTOGRAM_SUFFIX.sub("", name) for name in re.findall(r"turnwise_[a-z_]+", read("metrics.md"))}
    assert spoken_of == {metric.name for metric in names.METRICS}


def test_the_edits_paper_names_every_edit_and_no_other():
    assert FIRST_CELL.findall(read("edits.md")) == [f"edits.{field}" for field in Edits.__struct_fields__]


def test_the_errors_paper_explains_every_reason_and_no_other():
    assert FIRST_CELL.findall(read("errors.md")) == [str(reason) for reason in Reason]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_every_make_command_in_a_paper_is_a_target(paper):
    blocks = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", paper.read_text(encoding="utf-8"), re.DOTALL))
    assert set(MAKE_COMMAND.findall(blocks)) <= make_targets()


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_every_link_to_a_file_in_a_paper_leads_there(paper):
    targets = LINK.findall(paper.read_text(encoding="utf-8"))
    assert [target for target in targets if not (paper.parent / target).exists()] == []


def test_the_readme_tells_how_to_see_it_and_how_to_test_it_on_its_first_screen():
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:30])
    assert {"demo", "test"} <= set(MAKE_COMMAND.findall(first_screen))


def turnwise_commands():
    """Every `turnwise ...` line of a shell block in a paper, continued lines joined, comments and placeholders cut."""
    for paper in PAPERS:
        for block in re.findall(r"```sh\n(.*?)```", paper.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and Path(words[0]).name == "turnwise":
                    yield pytest.param(words[1:], id=f"{paper.name}: {' '.join(words)}")


@pytest.mark.parametrize("arguments", list(turnwise_commands()))
def test_every_turnwise_command_in_a_paper_is_understood(arguments):
    parsed = cli.command_line().parse_args(arguments)
    assert callable(parsed.run)


def test_the_papers_show_the_commands_that_matter():
    shown = {param.values[0][0] for param in turnwise_commands()}
    assert {"doctor", "serve"} <= shown
