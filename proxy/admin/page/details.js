// What is told of one row of the timeline, in passing and in full.

import { colour, label } from "./causes.js";
import { h } from "./dom.js";
import { share, span, whole } from "./words.js";

/** Seconds of a row by cause, in the order in which they came. */
function sums(row) {
  const found = new Map();
  for (const { cause, detail, start_s, end_s } of row.bars) {
    const name = cause === "prefill" && detail ? `${label(cause)}, ${detail}` : label(cause);
    found.set(name, { cause, seconds: (found.get(name)?.seconds ?? 0) + end_s - start_s });
  }
  return [...found];
}

const spent = (row) =>
  h(
    "ul",
    { class: "spent" },
    sums(row).map(([name, { cause, seconds }]) =>
      h("li", {}, h("i", { style: { background: colour(cause) } }), name, h("b", {}, span(seconds))),
    ),
  );

function standing(row) {
  const critical = row.bars.reduce((sum, bar) => sum + (bar.on_path ? bar.end_s - bar.start_s : 0), 0);
  if (row.is_running) return h("p", { class: "standing" }, "What it goes to is known once it has ended");
  if (row.on_path) return h("p", { class: "standing critical" }, `On the critical path for ${span(critical)}`);
  return h(
    "p",
    { class: "standing" },
    row.slack_s === null
      ? "Off the critical path"
      : `Off the critical path: ${span(row.slack_s)} slower would have delayed nobody`,
  );
}

export function tooltip(row) {
  return [
    h("b", {}, name(row)),
    h("p", { class: "faint" }, `${span(row.start_s)} to ${span(row.end_s)}, ${span(row.end_s - row.start_s)}`),
    spent(row),
    standing(row),
  ];
}

/** All that is known of `row`; `choose` opens another row, `close` none. */
export function details(row, found, choose, close) {
  const facts = Object.entries(told(row)).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const near = [
    ...row.links.map((link) => [WAYS[link.kind] ?? link.kind, link.row]),
    ...found.rows.flatMap((other) =>
      other.links.filter((link) => link.row === row.id).map((link) => [BACK[link.kind] ?? link.kind, other.id]),
    ),
  ];
  const names = new Map(found.rows.map((known) => [known.id, name(known)]));
  return [
    h(
      "div",
      { class: "heading" },
      h("h3", { class: "cut" }, name(row)),
      h("span", { class: "spring" }),
      h("button", { type: "button", class: "quiet", "aria-label": "Close details", on: { click: close } }, "Close"),
    ),
    standing(row),
    spent(row),
    h(
      "dl",
      {},
      facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]),
    ),
    near.length > 0 && h("h4", {}, "Linked"),
    near.length > 0 &&
      h(
        "ul",
        { class: "near" },
        near
          .filter(([, id]) => names.has(id))
          .map(([way, id]) =>
            h(
              "li",
              {},
              `${way} `,
              h("button", { type: "button", class: "link", on: { click: () => choose(id) } }, names.get(id)),
            ),
          ),
      ),
  ].filter(Boolean);
}

const WAYS = {
  continue: "continues",
  rewrite: "rewrites",
  spawn: "was spawned by",
  join: "joins",
  retry: "tries again",
  tool: "was called by",
  result: "brings the result of",
  barrier: "began after",
};
const BACK = {
  continue: "continued by",
  rewrite: "rewritten by",
  spawn: "spawned",
  join: "joined by",
  retry: "tried again by",
  tool: "called",
  result: "its result is brought by",
  barrier: "was followed by",
};

/** What a row is called: which call of which agent, which tool, what a gap was. */
export function name(row) {
  if (row.kind === "gap")
    return row.label === row.bars[0].cause ? label(row.label) : `${label(row.bars[0].cause)}: ${row.label}`;
  if (row.kind === "tool") return [row.label, ...row.marks].join(", ");
  const agent = row.agent > 0 ? `${row.agent_name || "agent"} ${row.agent}, ` : "";
  return `${agent}call ${row.turn + 1}${row.is_running ? ", running" : ""}`;
}

function told(row) {
  const common = { Began: span(row.start_s), Took: span(row.end_s - row.start_s) };
  if (row.kind === "tool")
    return {
      ...common,
      Expected: row.predicted_s === null ? "" : span(row.predicted_s),
      "Agent asked at": row.claimed_s === null ? "" : span(row.claimed_s),
      "Held for the agent": row.held_s > 0 ? span(row.held_s) : "",
      "While the model wrote": row.saved_s > 0 ? span(row.saved_s) : "",
      Times: row.is_inferred ? "inferred from the gap between two calls" : "measured by the tools gateway",
    };
  if (row.kind === "gap")
    return { ...common, "Waited for": row.is_inferred ? "not known: what ended last before it is taken" : "" };
  return {
    ...common,
    ...(row.is_running ? { Call: row.id } : ended(row)),
  };
}

function ended(row) {
  return {
    Replica: row.replica ?? "none was tried",
    Model: row.label,
    "Prompt tokens": whole(row.prompt_tokens),
    "From cache":
      row.cached_tokens === null ? "not told" : `${whole(row.cached_tokens)} (${share(row.cached_tokens, row.prompt_tokens)})`,
    Predicted: `${whole(row.predicted_tokens)} (${share(row.predicted_tokens, row.prompt_tokens)})`,
    Generated: row.completion_tokens === null ? "not told" : `${whole(row.completion_tokens)} tokens`,
    Answer: row.is_final ? "final" : "",
    Failed: row.reason,
    Attempts: row.attempts > 1 ? row.attempts : "",
    Call: row.id,
  };
}
