// The timeline of a program: a row for each call, tool and gap, coloured by cause, with the critical path through them.

import { Axis } from "./axis.js";
import { details, name, tooltip } from "./details.js";
import { h, s, say } from "./dom.js";
import { lines, miniature, ROW_PX, track } from "./drawing.js";
import { plural, share, span, tokens, whole } from "./words.js";

/** Rows that are drawn; the JSON has all. */
const MAX_ROWS = 1500;

/** Share of the makespan below which a gap is left out unless it is asked for; the path runs through it all the same. */
const SHORT = 0.01;

export class Waterfall {
  constructor() {
    this.axis = new Axis();
    this.found = null;
    this.shown = [];
    this.folded = new Set();
    this.chosen = null;
    this.drawn = "";
    this.path = h(
      "button",
      { type: "button", class: "switch", "aria-pressed": "true", on: { click: () => this.#flip(this.path) } },
      "Critical path",
    );
    this.gaps = h("button", {
      type: "button",
      class: "switch",
      "aria-pressed": "false",
      on: { click: () => this.#flip(this.gaps) },
    });
    this.whole = h("button", { type: "button", hidden: true, on: { click: () => this.#zoom(null) } }, "Show all time");
    this.count = h("span", { class: "count" });
    this.map = h("div", { class: "map", title: "Drag to look closer; double-click to see all", "aria-hidden": true });
    this.ruler = h("div", { class: "ruler", "aria-hidden": true });
    this.rows = h("div", {
      class: "rows",
      role: "tree",
      "aria-label": "Calls, tools and gaps in time",
      on: { keydown: (event) => this.#key(event) },
    });
    this.lines = s("svg", { class: "lines", "aria-hidden": true, preserveAspectRatio: "none" });
    this.marker = h("div", { class: "marker", hidden: true }, h("span", {}));
    this.field = h("div", { class: "field", "aria-hidden": true }, this.lines, this.marker);
    this.tip = h("div", { class: "tip", role: "tooltip", hidden: true });
    this.aside = h("aside", { class: "details", "aria-label": "Details", hidden: true });
    this.empty = h("p", { class: "empty" }, "No call of it has ended yet.");
    this.grid = h(
      "div",
      { class: "waterfall path-on" },
      h(
        "div",
        { class: "corner" },
        h("span", {}, "Name"),
        h("span", { class: "where" }, "Replica"),
        h("span", { class: "size" }, "Prompt, hit"),
        h("span", { class: "time" }, "Time"),
      ),
      this.ruler,
      h("div", { class: "corner low" }),
      this.map,
      h("div", { class: "canvas" }, this.rows, this.field),
    );
    this.element = h(
      "div",
      { class: "timeline" },
      h("div", { class: "heading" }, this.count, h("span", { class: "spring" }), this.whole, this.gaps, this.path),
      h("div", { class: "split" }, h("div", { class: "sheet" }, this.grid, this.empty), this.aside),
      this.tip,
    );
    this.#dragged();
    new ResizeObserver(() => this.found && this.#scale()).observe(this.ruler);
    this.rows.addEventListener("pointermove", (event) => this.#hover(event));
    this.rows.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
    });
  }

  show(found) {
    const said = JSON.stringify([found.rows, found.ledger]);
    if (said === this.drawn) return;
    this.drawn = said;
    this.found = found;
    this.axis.grow(found.ledger.makespan_s);
    this.#draw();
  }

  #draw() {
    const { rows, ledger } = this.found;
    this.empty.hidden = rows.length > 0;
    this.grid.hidden = rows.length === 0;
    const short = new Set(rows.filter((row) => row.kind === "gap" && row.end_s - row.start_s < SHORT * ledger.makespan_s));
    const open = seen(isOn(this.gaps) ? rows : rows.filter((row) => !short.has(row)), this.folded);
    const shown = open.slice(0, MAX_ROWS);
    this.gaps.hidden = short.size === 0;
    say(this.gaps, plural(short.size, "short gap"));
    const critical = rows.filter((row) => row.on_path).length;
    const left = open.length > shown.length ? `; the first ${whole(shown.length)} are drawn, the JSON has all` : "";
    say(this.count, `${plural(rows.length, "row")}, ${critical} on the critical path${left}`);
    this.whole.hidden = !this.axis.isZoomed;
    const focused = document.activeElement?.closest?.("[role=treeitem]")?.dataset.id;
    this.rows.replaceChildren(...shown.map((row, number) => this.#row(row, number, shown)));
    const again = [...this.rows.children].find((row) => row.dataset.id === focused);
    if (again) again.focus({ preventScroll: true });
    if (!this.rows.querySelector("[tabindex='0']") && this.rows.firstChild) this.rows.firstChild.tabIndex = 0;
    this.shown = shown;
    this.#scale();
    this.marker.hidden = ledger.ftr_s === null || !this.axis.box(ledger.ftr_s, ledger.ftr_s);
    this.marker.style.setProperty("left", `${100 * this.axis.at(ledger.ftr_s ?? 0)}%`);
    say(this.marker.firstChild, `FTR ${span(ledger.ftr_s)}`);
    this.marker.classList.toggle("late", this.axis.at(ledger.ftr_s ?? 0) > 0.85);
    this.map.replaceChildren(...miniature(rows, this.axis));
    this.#details();
  }

  /** The times of the axis, as many as have room, and the lines below them. */
  #scale() {
    const ticks = this.axis.ticks(this.ruler.clientWidth);
    this.ruler.replaceChildren(
      ...ticks.map((tick) => h("span", { style: { left: `${100 * this.axis.at(tick)}%` } }, span(tick))),
    );
    this.lines.setAttribute("viewBox", `0 0 1000 ${Math.max(1, this.shown.length * ROW_PX)}`);
    this.lines.replaceChildren(...lines(this.shown, ticks, this.axis));
  }

  #row(row, number, shown) {
    const isFolder = this.folded.has(row.id) || shown[number + 1]?.depth > row.depth;
    const label = h(
      "div",
      { class: "label", style: { "--depth": String(row.depth) } },
      isFolder ? h("span", { class: "fold", "aria-hidden": true }) : h("span", { class: "fold none" }),
      h("span", { class: `mark ${row.kind}`, "aria-hidden": true }),
      h("span", { class: "cut" }, name(row)),
    );
    return h(
      "div",
      {
        class: `row ${row.on_path ? "critical" : "aside"} ${row.reason ? "failed" : ""}`,
        role: "treeitem",
        tabindex: (number === 0 && this.chosen === null) || row.id === this.chosen ? 0 : -1,
        "data-id": row.id,
        "aria-level": row.depth + 1,
        "aria-expanded": isFolder ? String(!this.folded.has(row.id)) : null,
        "aria-selected": String(row.id === this.chosen),
        "aria-label": `${name(row)}, ${row.kind}, ${span(row.end_s - row.start_s)}${row.on_path ? ", on the critical path" : ""}`,
        on: { click: (event) => this.#click(row, isFolder && event.target.classList.contains("fold")) },
      },
      label,
      h("span", { class: "where cut" }, row.replica ?? ""),
      h(
        "span",
        { class: "size" },
        row.prompt_tokens
          ? `${tokens(row.prompt_tokens)}, ${row.cached_tokens === null ? "–" : share(row.cached_tokens, row.prompt_tokens)}`
          : "",
      ),
      h("span", { class: "time" }, span(row.end_s - row.start_s)),
      track(row, this.axis),
    );
  }

  #details() {
    const row = this.found.rows.find((known) => known.id === this.chosen);
    this.aside.hidden = row === undefined;
    if (row)
      this.aside.replaceChildren(
        ...details(
          row,
          this.found,
          (id) => this.#choose(id),
          () => this.#choose(null),
        ),
      );
  }

  #click(row, folds) {
    if (!folds) {
      this.#choose(row.id === this.chosen ? null : row.id);
      return;
    }
    if (!this.folded.delete(row.id)) this.folded.add(row.id);
    this.#draw();
  }

  #choose(id) {
    this.chosen = id;
    this.tip.hidden = true;
    this.#draw();
    const row = [...this.rows.children].find((known) => known.dataset.id === id);
    row?.focus();
  }

  #flip(button) {
    button.setAttribute("aria-pressed", String(!isOn(button)));
    this.grid.classList.toggle("path-on", isOn(this.path));
    this.#draw();
  }

  #key(event) {
    const rows = [...this.rows.children];
    const row = event.target.closest("[role=treeitem]");
    const to = { ArrowDown: 1, ArrowUp: -1, Home: -rows.length, End: rows.length }[event.key];
    if (to) {
      const next = rows[Math.max(0, Math.min(rows.length - 1, rows.indexOf(row) + to))];
      row.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      this.#choose(row.dataset.id === this.chosen ? null : row.dataset.id);
    } else if (event.key === "Escape") {
      this.tip.hidden = true;
      this.#choose(null);
    } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && row.hasAttribute("aria-expanded")) {
      if (event.key === "ArrowLeft") this.folded.add(row.dataset.id);
      else this.folded.delete(row.dataset.id);
      this.#draw();
    } else {
      return;
    }
    event.preventDefault();
  }

  #hover(event) {
    const id = event.target.closest("[role=treeitem]")?.dataset.id;
    const row = this.found?.rows.find((known) => known.id === id);
    this.tip.hidden = row === undefined || row.id === this.chosen;
    if (this.tip.hidden) return;
    if (this.tip.dataset.id !== id) this.tip.replaceChildren(...tooltip(row));
    this.tip.dataset.id = id;
    const { offsetWidth, offsetHeight } = this.tip;
    this.tip.style.setProperty("left", `${Math.min(event.clientX + 14, innerWidth - offsetWidth - 8)}px`);
    this.tip.style.setProperty(
      "top",
      `${event.clientY + 18 + offsetHeight > innerHeight ? event.clientY - offsetHeight - 10 : event.clientY + 18}px`,
    );
  }

  #zoom(stretch) {
    if (stretch) this.axis.zoom(...stretch);
    else this.axis.reset();
    this.#draw();
  }

  #dragged() {
    const place = (event) => {
      const box = this.map.getBoundingClientRect();
      return (this.axis.all * (event.clientX - box.left)) / box.width;
    };
    let began = null;
    this.map.addEventListener("pointerdown", (event) => {
      began = place(event);
      this.map.setPointerCapture(event.pointerId);
    });
    this.map.addEventListener("pointermove", (event) => {
      if (began !== null && Math.abs(place(event) - began) > this.axis.all / 100) this.#zoom([began, place(event)]);
    });
    for (const ends of ["pointerup", "pointercancel"])
      this.map.addEventListener(ends, () => {
        began = null;
      });
    this.map.addEventListener("dblclick", () => this.#zoom(null));
  }
}

const isOn = (button) => button.getAttribute("aria-pressed") === "true";

/** The rows that no folded row hides. */
function seen(rows, folded) {
  let hidden = Infinity;
  return rows.filter((row) => {
    if (row.depth > hidden) return false;
    hidden = folded.has(row.id) ? row.depth : Infinity;
    return true;
  });
}
