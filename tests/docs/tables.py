"""The parts of the papers that are made from code, between `<!-- made from code: NAME -->` and `<!-- end -->`.

`python tests/docs/tables.py` writes them; a test says whether that was done.
"""

import re
import sys
from pathlib import Path

from turnwise import names, settings_sources, span_names
from turnwise.proxy.lint import ADVICE
from turnwise.proxy.states import EXPLAINED
from turnwise.tools_gateway import settings_sources as tools_settings

ROOT = Path(__file__).parents[2]
NAMES = ("settings.md", "tools-settings.md", "metrics.md", "edits.md", "states.md", "prefix-stability.md", "programs.md")
PAPERS = tuple(ROOT / "docs" / name for name in NAMES)
PART = re.compile(r"(?P<begin><!-- made from code: (?P<name>[a-z]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def code(text):
    return f"`{text}`" if text else ""


def settings_table(docs):
    head = ["key", "type", "default", "range", "what it does"]
    return table(head, [[code(doc.key), doc.type, code(doc.default), doc.range, doc.sentence] for doc in docs])


def edits_table():
    head = ["setting", "default", "what it does"]
    docs = [doc for doc in settings_sources.describe() if doc.key.startswith("edits.")]
    return table(head, [[code(doc.key), code(doc.default), doc.sentence] for doc in docs])


def metrics_table():
    head = ["metric", "kind", "labels", "what it counts"]
    rows = [[code(metric.name), metric.kind, ", ".join(map(code, metric.labels)), metric.help] for metric in names.METRICS]
    return table(head, rows)


def attributes_table():
    head = ["attribute", "type", "spans", "what it says"]
    return table(head, [[code(it.name), it.kind, it.on, it.help] for it in span_names.ATTRIBUTES])


def states_table():
    head = ["state", "what it means", "what the proxy does", "what you can do"]
    return table(head, [[code(state), text.means, text.does, text.remedy] for state, text in EXPLAINED.items()])


def causes_table():
    return table(
        ["cause", "what it means", "what helps"],
        [[code(cause), advice.meaning, advice.remedy] for cause, advice in ADVICE.items()],
    )


TABLES = {
    "attributes": attributes_table,
    "states": states_table,
    "settings": lambda: settings_table(settings_sources.describe()),
    "tools": lambda: settings_table(tools_settings.describe()),
    "edits": edits_table,
    "metrics": metrics_table,
    "causes": causes_table,
}


def renewed(text):
    return PART.sub(lambda part: f"{part['begin']}{TABLES[part['name']]()}{part['end']}", text)


def main():
    for paper in PAPERS:
        before = paper.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            paper.write_text(after, encoding="utf-8")
            sys.stdout.write(f"renewed {paper.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
