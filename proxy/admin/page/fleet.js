// The replicas: whether each takes calls, how busy it is, what its cache holds, how often it served from it.

import { h, keep, s, say } from "./dom.js";
import { plural, share, tokens, whole } from "./words.js";

/** Looks of which a sparkline remembers the figure. */
const HISTORY = 60;

export class Fleet {
  constructor() {
    this.history = new Map();
    this.cards = h("div", { class: "cards", role: "list" });
    this.count = h("span", { class: "count" });
    this.empty = h(
      "p",
      { class: "empty sheet", hidden: true },
      "No replica is known. Give one with ",
      h("code", {}, "turnwise serve --replica URL"),
      ".",
    );
    this.element = h(
      "section",
      { "aria-label": "Fleet" },
      h("div", { class: "heading" }, h("h2", {}, "Fleet"), this.count),
      this.cards,
      this.empty,
    );
  }

  show(replicas) {
    this.empty.hidden = replicas.length > 0;
    const ready = replicas.filter((replica) => replica.is_routable).length;
    say(this.count, replicas.length ? `${ready} of ${replicas.length} ready` : "");
    keep(
      this.cards,
      replicas,
      (replica) => replica.name,
      made,
      (card, replica) => this.#update(card, replica),
    );
  }

  #update(card, replica) {
    const part = (name) => card.querySelector(`[data-part="${name}"]`);
    const [state, word] = health(replica);
    card.dataset.state = state;
    say(part("name"), replica.name);
    say(part("model"), (replica.facts?.models ?? []).join(", ") || replica.url);
    say(part("health"), word);
    say(part("feed"), replica.feed === "none" ? "no KV events" : `events ${replica.feed}`);
    part("feed").dataset.feed = replica.feed;
    say(part("running"), whole(replica.num_running));
    say(part("prefill"), tokens(replica.pending_prefill_tokens));
    const residency = held(replica);
    say(part("hits"), residency.hits === null ? "–" : share(residency.hits, 1));
    say(part("held"), residency.text);
    part("confirmed").style.setProperty("width", `${100 * residency.confirmed}%`);
    part("predicted").style.setProperty("width", `${100 * residency.predicted}%`);
    part("meter").setAttribute("aria-label", residency.text);
    const states = replica.states.map((found) =>
      h(
        "span",
        { class: "tag warn", title: `${found.means} ${found.does} ${found.remedy}`, tabindex: 0 },
        found.state.replaceAll("_", " "),
      ),
    );
    const shown = part("states");
    if (shown.textContent !== states.map((tag) => tag.textContent).join("")) shown.replaceChildren(...states);
    const seen = this.history.get(replica.name) ?? [];
    seen.push(replica.num_running);
    this.history.set(replica.name, seen.slice(-HISTORY));
    draw(part("spark"), this.history.get(replica.name));
  }
}

function made() {
  const figure = (name, label, explains) =>
    h("div", { class: "figure", title: explains }, h("b", { "data-part": name }), h("span", {}, label));
  return h(
    "article",
    { class: "card", role: "listitem" },
    h(
      "div",
      { class: "line" },
      h("span", { class: "dot", "aria-hidden": true }),
      h("b", { class: "name", "data-part": "name" }),
      h("span", { class: "spring" }),
      h("span", { class: "health", "data-part": "health" }),
    ),
    h(
      "div",
      { class: "line faint" },
      h("span", { class: "cut", "data-part": "model" }),
      h("span", { class: "spring" }),
      h("span", { class: "tag", "data-part": "feed" }),
    ),
    h(
      "div",
      { class: "figures" },
      figure("running", "running", "Calls that this proxy has there now"),
      figure("prefill", "to prefill", "Prompt tokens of running calls that are not computed yet, as predicted"),
      figure("hits", "from cache", "Prompt tokens that its engine reported cached, of all that it reported on"),
      s("svg", {
        class: "spark",
        viewBox: "0 0 100 28",
        preserveAspectRatio: "none",
        "data-part": "spark",
        "aria-hidden": true,
      }),
    ),
    h(
      "div",
      { class: "meter", role: "img", "data-part": "meter" },
      h("i", { class: "confirmed", "data-part": "confirmed" }),
      h("i", { class: "predicted", "data-part": "predicted" }),
    ),
    h("div", { class: "line faint small" }, h("span", { "data-part": "held" })),
    h("div", { class: "states", "data-part": "states" }),
  );
}

function health(replica) {
  if (!replica.is_healthy) return ["down", "down"];
  if (replica.is_draining) return ["held", "draining"];
  return replica.is_routable ? ["ready", "ready"] : ["held", "breaker open"];
}

/** Parts of the cache that are held, in [0, 1] (what is predicted is confirmed in part: only what is beyond that is told), the same in words, and the share of prompts that came from it. */
function held(replica) {
  const { cache } = replica;
  const reported = (cache?.loop ?? []).reduce((sum, source) => sum + source.reported_tokens, 0);
  const prompts = (cache?.loop ?? []).reduce((sum, source) => sum + source.prompt_tokens, 0);
  const hits = prompts > 0 ? reported / prompts : null;
  const blocks = cache?.num_blocks ?? 0;
  const slower = (cache?.num_dram_blocks ?? 0) + (cache?.num_disk_blocks ?? 0);
  const load = replica.facts?.load;
  const size = load?.block_size ?? 0;
  const room = load?.num_blocks && size ? load.num_blocks * size : cache?.effective_tokens || 0;
  const confirmed = blocks * size;
  const predicted = cache?.num_predicted_tokens ?? 0;
  const words = [`${tokens(confirmed)} tokens confirmed`];
  if (predicted) words.push(`${tokens(predicted)} predicted`);
  if (slower) words.push(`${plural(slower, "block")} in slower tiers`);
  const text = `${words.join(", ")}${room ? ` of ${tokens(room)}` : ""}`;
  if (!room) return { hits, text, confirmed: 0, predicted: 0 };
  const full = Math.min(1, confirmed / room);
  return { hits, text, confirmed: full, predicted: Math.max(0, Math.min(1, predicted / room) - full) };
}

function draw(spark, seen) {
  const top = Math.max(4, ...seen);
  const points = seen.map(
    (value, number) => `${((number + HISTORY - seen.length) * 100) / (HISTORY - 1)},${26 - (24 * value) / top}`,
  );
  const first = points[0].split(",")[0];
  spark.replaceChildren(
    s("polygon", { points: `${first},28 ${points.join(" ")} 100,28` }),
    s("polyline", { points: points.join(" ") }),
  );
}
