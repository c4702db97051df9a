// The prompts of a program as typed blocks, and how much of each the replicas hold at this moment.

import { h } from "./dom.js";
import { plural, share, tokens, whole } from "./words.js";

const KINDS = {
  system: "System",
  tools: "Tools",
  user: "User",
  assistant: "Assistant",
  reasoning: "Reasoning",
  tool_call: "Tool call",
  tool_result: "Tool result",
  branch: "Branch",
};
const STATES = { superseded: "superseded: its conversation goes on without it", dead: "dead: nobody continues it" };
const KEPT = {
  durable: "worth keeping beyond this program",
  session: "worth keeping while its session goes on",
  ephemeral: "nothing will come back to it",
};

/** Blocks that the table shows; the JSON has all. */
const MAX_ROWS = 500;

const colour = (kind) => `var(--block-${kind in KINDS ? kind : "branch"})`;

export class Blocks {
  constructor() {
    this.drawn = "";
    this.element = h("div", { class: "sheet" });
  }

  show({ graph }) {
    const said = JSON.stringify(graph);
    if (said === this.drawn) return;
    this.drawn = said;
    const blocks = new Map(graph.blocks.map((block) => [block.number, block]));
    const prompts = graph.lines
      .map((line) => ({
        line,
        path: path(blocks, line.tip ?? graph.blocks.findLast(({ agent }) => agent === line.agent)?.number),
      }))
      .filter(({ path: found }) => found.length);
    if (graph.blocks.length === 0) {
      this.element.replaceChildren(h("p", { class: "empty" }, "Nothing is known of its prompts."));
      return;
    }
    this.element.replaceChildren(
      h(
        "div",
        { class: "prompts" },
        legend(graph.blocks),
        prompts.map(({ line, path: found }) =>
          prompt(
            line,
            found,
            graph.held.find(({ agent }) => agent === line.agent),
          ),
        ),
      ),
      table(graph, prompts),
    );
  }
}

/** The blocks of a prompt, from its beginning to the one numbered `tip`. */
function path(blocks, tip) {
  const found = [];
  for (let block = blocks.get(tip); block; block = blocks.get(block.parent)) found.unshift(block);
  return found;
}

function legend(blocks) {
  const sums = new Map();
  for (const { kind, tokens: size } of blocks) sums.set(kind, (sums.get(kind) ?? 0) + size);
  return h(
    "ul",
    { class: "legend" },
    Object.keys(KINDS)
      .filter((kind) => sums.get(kind))
      .map((kind) =>
        h("li", {}, h("i", { style: { background: colour(kind) } }), KINDS[kind], h("b", {}, tokens(sums.get(kind)))),
      ),
  );
}

function prompt(line, found, held) {
  const all = found.reduce((sum, block) => sum + block.tokens, 0);
  const replicas = Object.entries(held?.replicas ?? {});
  return h(
    "section",
    { class: "prompt" },
    h(
      "div",
      { class: "heading" },
      h("h3", {}, line.agent === 0 ? "Main conversation" : `Conversation ${line.agent}`),
      h("span", { class: "count" }, `${plural(found.length, "block")}, ${whole(all)} tokens, ${plural(line.calls, "call")}`),
    ),
    h(
      "div",
      { class: "holding" },
      h("span", {}, "Prompt"),
      h(
        "div",
        { class: "strip", role: "img", "aria-label": found.map((block) => `${KINDS[block.kind]} ${block.tokens}`).join(", ") },
        found
          .filter((block) => block.tokens > 0)
          .map((block) =>
            h("i", {
              title: `${KINDS[block.kind]}, ${whole(block.tokens)} tokens, ${KEPT[block.retention]}`,
              style: { flex: `${block.tokens} 1 0`, background: colour(block.kind) },
            }),
          ),
      ),
      h("b", {}, tokens(all)),
    ),
    replicas.map(([replica, hit]) =>
      h(
        "div",
        { class: "holding" },
        h("span", { class: "cut" }, replica),
        h(
          "div",
          { class: "meter", role: "img", "aria-label": `${replica} holds ${hit.tokens} of ${all} tokens` },
          h("i", {
            class: hit.source === "confirmed" ? "confirmed" : "predicted",
            style: { width: `${100 * Math.min(1, hit.tokens / Math.max(1, all))}%` },
          }),
        ),
        h(
          "b",
          { title: hit.source === "confirmed" ? "as its engine said" : "as placed there, not confirmed" },
          hit.tokens ? `${tokens(hit.tokens)}, ${hit.source}` : "nothing",
        ),
      ),
    ),
  );
}

function table(graph, prompts) {
  const holders = holdersOf(graph, prompts);
  const asked = new Set(prompts.flatMap(({ path: found }) => found.map(({ number }) => number)));
  const left = graph.blocks.length - MAX_ROWS;
  const headings = ["Block", "Conversation", "Tokens", "Retention", "State", "Held by", "Digest"];
  return h(
    "table",
    { class: "blocks" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        headings.map((text, place) => h("th", { scope: "col", class: place === 2 ? "number" : "" }, text)),
      ),
    ),
    h(
      "tbody",
      {},
      graph.blocks
        .slice(0, MAX_ROWS)
        .map((block) =>
          h(
            "tr",
            { class: block.state === "live" ? "" : "dead" },
            h("td", {}, h("i", { style: { background: colour(block.kind) } }), KINDS[block.kind] ?? block.kind),
            h("td", {}, `${block.agent === 0 ? "main" : block.agent}, call ${block.turn + 1}`),
            h("td", { class: "number" }, whole(block.tokens)),
            h("td", { title: KEPT[block.retention] }, block.retention),
            h("td", { title: STATES[block.state] }, block.state),
            h(
              "td",
              {},
              holders.has(block.number)
                ? [...holders.get(block.number)].map(([replica, part]) =>
                    h(
                      "span",
                      { class: "tag", title: part < 1 ? "part of it" : null },
                      part < 1 ? `${replica} ${share(part, 1)}` : replica,
                    ),
                  )
                : h("span", { class: "faint" }, asked.has(block.number) ? "nobody" : "–"),
            ),
            h("td", { class: "faint" }, h("code", {}, block.digest)),
          ),
        ),
      left > 0 &&
        h("tr", {}, h("td", { colspan: headings.length, class: "faint" }, `and ${plural(left, "block")} more, in the JSON`)),
    ),
  );
}

/** For each block the replicas that hold some of it, and which part. */
function holdersOf(graph, prompts) {
  const found = new Map();
  for (const { line, path: blocks } of prompts) {
    const held = graph.held.find(({ agent }) => agent === line.agent)?.replicas ?? {};
    let start = 0;
    for (const { number, tokens: size } of blocks) {
      for (const [replica, hit] of Object.entries(held)) {
        if (size === 0 || hit.tokens <= start) continue;
        const own = found.get(number) ?? new Map();
        found.set(number, own.set(replica, Math.max(own.get(replica) ?? 0, Math.min(1, (hit.tokens - start) / size))));
      }
      start += size;
    }
  }
  return found;
}
