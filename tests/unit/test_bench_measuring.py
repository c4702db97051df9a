"""The command line that `make bench-knowledge` and `make bench-programs` share."""

import msgspec
import pytest
from bench.knowledge.row import at_most
from bench.measuring import main

BEGIN, END = "<!-- bench-x:begin -->\n", "<!-- bench-x:end -->\n"


def rows(**ratios):
    return {
        name: lambda seed, _, name=name: at_most(name, f"{name} of {seed}", ratios[name], 2.0, "x", {"cost us": 1.0}, "")
        for name in ratios
    }


def run(tmp_path, measured, *arguments):
    return main("bench-x", None, measured, ["--cache", str(tmp_path), *arguments])


def test_the_papers_part_is_renewed_and_nothing_else(tmp_path):
    paper = tmp_path / "p.md"
    paper.write_text(f"before\n{BEGIN}stale\n{END}after\n")
    assert run(tmp_path, rows(a=1.0), "--paper", str(paper), "--seed", "7") == 0
    text = paper.read_text()
    assert text.startswith(f"before\n{BEGIN}Commit ")
    assert "| a of 7 | at most 2 x | 1.00 | holds |" in text
    assert text.endswith(f"{END}after\n")
    assert "stale" not in text


def test_a_paper_without_the_part_is_refused(tmp_path):
    paper = tmp_path / "p.md"
    paper.write_text("nothing")
    with pytest.raises(ValueError, match="has no part"):
        run(tmp_path, rows(a=1.0), "--paper", str(paper))


def test_a_bar_that_does_not_hold_is_the_status_of_the_command(tmp_path):
    assert run(tmp_path, rows(a=1.0, b=3.0)) == 1


def test_only_the_rows_that_are_asked_for_are_measured(tmp_path):
    out = tmp_path / "new" / "out.json"
    assert run(tmp_path, rows(a=1.0, b=3.0), "--row", "a", "--json", str(out)) == 0
    assert [row["name"] for row in msgspec.json.decode(out.read_bytes())["rows"]] == ["a"]
