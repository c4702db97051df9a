// The first view: the fleet and what it holds, and the programs.

import { h } from "./dom.js";
import { Fleet } from "./fleet.js";
import { asked } from "./polling.js";
import { Programs } from "./programs.js";

export class Overview {
  constructor() {
    this.fleet = new Fleet();
    this.programs = new Programs();
    this.element = h("div", { class: "overview" }, this.fleet.element, this.programs.element);
  }

  async refresh(signal) {
    const [fleet, programs] = await Promise.all([asked("v1/replicas", signal), asked("programs?limit=500", signal)]);
    this.fleet.show(fleet.replicas);
    this.programs.show(programs.programs);
  }
}
