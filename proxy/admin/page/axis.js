// A stretch of time and its place across the page.

const STEPS = [1, 2, 5];
const MAX_TICKS = 8;

/** Room that the time of one takes. */
const TICK_PX = 64;

/** What of a program's time is seen: seconds since it began. */
export class Axis {
  constructor() {
    this.all = 1;
    this.from = 0;
    this.to = 1;
  }

  /** A longer program than before: what was seen stays so, unless it was all. */
  grow(seconds) {
    const wasAll = !this.isZoomed;
    this.all = Math.max(seconds, 1e-6);
    if (wasAll) this.reset();
  }

  get isZoomed() {
    return this.from > 0 || this.to < this.all;
  }

  reset() {
    this.from = 0;
    this.to = this.all;
  }

  /** See no more than this, in any order; not less than a thousandth. */
  zoom(one, other) {
    const least = this.all / 1000;
    const middle = (one + other) / 2;
    const half = Math.max(Math.abs(other - one), least) / 2;
    this.from = Math.max(0, middle - half);
    this.to = Math.min(this.all, middle + half);
  }

  /** Place in [0, 1] of a moment; outside where it is not seen. */
  at(seconds) {
    return (seconds - this.from) / (this.to - this.from);
  }

  /** Left and width in percent of what is seen of a stretch; null where nothing is. */
  box(start, end) {
    const left = Math.max(0, this.at(start));
    const right = Math.min(1, this.at(end));
    return right < 0 || left > 1 || right < left ? null : { left: 100 * left, width: 100 * (right - left) };
  }

  /** Round moments, no more than have room for their times within `width` pixels. */
  ticks(width) {
    const rough = (this.to - this.from) / Math.max(1, Math.min(MAX_TICKS, Math.floor(width / TICK_PX)));
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = (STEPS.find((factor) => factor * power >= rough) ?? 10) * power;
    const found = [];
    for (let number = Math.ceil(this.from / step); number * step <= this.to; number += 1) found.push(number * step);
    return found;
  }
}
