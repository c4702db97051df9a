// The drawn parts of the timeline: bars, the lines between them, and the small picture of all.

import { colour } from "./causes.js";
import { h, s } from "./dom.js";

export const ROW_PX = 30;

/** The stretches of a row that are on the critical path, those that touch as one. */
function path(row) {
  const found = [];
  for (const { start_s, end_s, on_path } of row.bars) {
    if (!on_path) continue;
    if (found.length && start_s - found.at(-1)[1] < 1e-6) found.at(-1)[1] = end_s;
    else found.push([start_s, end_s]);
  }
  return found;
}

/** The bar of a row, the part of it that is on the critical path, and its slack. */
export function track(row, axis) {
  const drawn = h("div", { class: "track" });
  const box = axis.box(row.start_s, row.end_s);
  if (box) {
    const bar = h("div", { class: "bar", style: { left: `${box.left}%`, width: `max(${box.width}%, 3px)` } });
    const least = Math.max(row.start_s, axis.from);
    const most = Math.min(row.end_s, axis.to);
    for (const { cause, detail, start_s, end_s } of row.bars) {
      if (end_s <= least || start_s >= most) continue;
      const from = Math.max(start_s, least);
      bar.append(
        h("i", {
          class: detail,
          style: {
            left: `${(100 * (from - least)) / (most - least)}%`,
            width: `${(100 * (Math.min(end_s, most) - from)) / (most - least)}%`,
            background: colour(cause),
          },
        }),
      );
    }
    drawn.append(bar);
  }
  for (const [start, end] of path(row)) {
    const on = axis.box(start, end);
    if (on) drawn.append(h("div", { class: "on-path", style: { left: `${on.left}%`, width: `max(${on.width}%, 2px)` } }));
  }
  const slack = row.slack_s > 0 && !row.on_path ? axis.box(row.end_s, row.end_s + row.slack_s) : null;
  if (slack) drawn.append(h("div", { class: "slack", style: { left: `${slack.left}%`, width: `${slack.width}%` } }));
  return drawn;
}

/** Ticks, what depends on what, and the critical path from row to row; a thousand units wide. */
export function lines(shown, ticks, axis) {
  const place = new Map(shown.map((row, number) => [row.id, number]));
  const x = (seconds) => 1000 * Math.min(1.2, Math.max(-0.2, axis.at(seconds)));
  const y = (number) => number * ROW_PX + ROW_PX / 2;
  const drawn = ticks.map((tick) => s("path", { class: "tick", d: `M${x(tick)} 0V${shown.length * ROW_PX}` }));
  const byId = new Map(shown.map((row) => [row.id, row]));
  for (const to of shown)
    for (const link of to.links) {
      const from = byId.get(link.row);
      if (!from) continue;
      const leaves = link.kind === "spawn" ? Math.min(from.end_s, to.start_s) : from.end_s;
      drawn.push(
        s("path", {
          class: `link ${link.kind}`,
          d: `M${x(leaves)} ${y(place.get(from.id))}V${y(place.get(to.id))}H${x(to.start_s)}`,
        }),
      );
    }
  const steps = shown
    .flatMap((row) => path(row).map(([start, end]) => ({ row, start, end })))
    .toSorted((one, other) => one.start - other.start);
  for (let number = 1; number < steps.length; number += 1) {
    const [before, next] = [steps[number - 1], steps[number]];
    if (before.row === next.row) continue;
    drawn.push(
      s("path", {
        class: "step",
        d: `M${x(before.end)} ${y(place.get(before.row.id)) + 8}H${x(next.start)}V${y(place.get(next.row.id)) + 8}`,
      }),
    );
  }
  return drawn;
}

/** All of the program, small, and which of it is seen. */
export function miniature(rows, axis) {
  const height = 30 / Math.max(rows.length, 10);
  const bars = rows.map((row, number) =>
    s("rect", {
      x: (1000 * row.start_s) / axis.all,
      width: Math.max(1, (1000 * (row.end_s - row.start_s)) / axis.all),
      y: number * height + 2,
      height: Math.max(1, height - 0.4),
      class: row.on_path ? "critical" : "",
    }),
  );
  const lens = h("div", {
    class: "lens",
    hidden: !axis.isZoomed,
    style: {
      left: `${(100 * axis.from) / axis.all}%`,
      width: `${(100 * (axis.to - axis.from)) / axis.all}%`,
    },
  });
  return [s("svg", { viewBox: "0 0 1000 34", preserveAspectRatio: "none" }, bars), lens];
}
