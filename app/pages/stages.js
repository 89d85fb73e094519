// The tab Stages: one row from score to weight, with sliders.

const STAGE_NAMES = ["score", "positivity", "normalise", "sharpen"];
const STAGE_VALUES = ["score s", "f(s)", "N·a", "weight w"];
const STAGE_HEIGHT = 220;

class StagesTab {
  constructor(setup, remember) {
    Object.assign(this, { setup, remember });
    this.row = null;
    byId("stage-head").addEventListener("change", () => this.moved());
    byId("stage-layer").addEventListener("change", () => { this.limits(); this.moved(); });
    byId("stage-model").addEventListener("change", () => { byId("power").value = "0"; this.limits(); this.moved(); });
    for (const id of ["position", "last", "power"]) {
      byId(id).addEventListener("input", () => this.slid(id));
      byId(id).addEventListener("change", () => this.remember()); // when it is let go: see MapTab.moved
    }
    for (const kind of ["png", "svg"]) byId(`stages-${kind}`).addEventListener("click", () => this.savePicture(kind));
    byId("stages-csv").addEventListener("click", () => this.saveCsv());
    byId("stage-charts").append(...STAGE_NAMES.map((name) => make("figure", {},
      make("figcaption", {}, make("b", {}, name), " ", make("code", {})), make("div", { class: "site-plot", role: "img", "aria-label": name }))));
    this.fetch = newest(() => this.load());
  }

  async show(parts) {
    const analyses = this.setup.analyses;
    byId("stages-about").textContent = this.setup.about();
    byId("stages-shown").hidden = false;
    if (this.shown !== analyses) this.fill(analyses);
    this.restore(parts);
    await loadPlotly();
    await this.fetch();
    this.draw();
  }

  fill(analyses) {
    this.shown = analyses;
    const option = (value) => make("option", { value }, String(value));
    byId("stage-model").replaceChildren(...analyses.map((one, at) => make("option", { value: at }, one.variant)));
    byId("stage-model").value = String(analyses.length - 1);
    byId("stage-layer").replaceChildren(...analyses[0].layers.map(option));
    byId("stage-head").replaceChildren(...Array.from({ length: analyses[0].heads }, (_, head) => option(head)));
    byId("stage-layer").value = String(analyses[0].layers[Math.floor(analyses[0].layers.length / 2)]);
    byId("position").max = String(analyses[0].length - 1);
    byId("position").value = byId("position").max;
    byId("power").value = "0";
    this.limits();
    byId("last").value = byId("last").max;
  }

  restore(parts) {
    for (const [id, name] of [["stage-model", "m"], ["stage-layer", "layer"], ["stage-head", "head"]]) {
      if ([...byId(id).options].some(({ value }) => value === parts.get(name))) byId(id).value = parts.get(name);
    }
    if (parts.has("position")) byId("position").value = parts.get("position");
    this.limits();
    byId("last").value = parts.get("last") ?? byId("last").max;
    byId("power").value = parts.get("p") ?? "0";
    this.tell();
  }

  get analysis() {
    return this.shown[Number(byId("stage-model").value)];
  }

  /** How many keys the query sees: those up to its own, or the window's. */
  get seen() {
    const window = this.analysis.windows[byId("stage-layer").value];
    return Math.min(Number(byId("position").value) + 1, window ?? Infinity);
  }

  limits() {
    const isAll = byId("last").value === byId("last").max;
    byId("last").max = String(this.seen);
    if (isAll) byId("last").value = byId("last").max;
  }

  slid(id) {
    if (id === "position") this.limits();
    this.follow();
  }

  moved() {
    this.remember();
    this.follow();
  }

  follow() {
    this.tell();
    this.fetch().catch((error) => this.setup.say(error.message, true));
  }

  /** Power 0 on the slider is the variant's own. */
  asked() {
    const [position, last, power] = ["position", "last", "power"].map((id) => Number(byId(id).value));
    return {
      layer: Number(byId("stage-layer").value), head: Number(byId("stage-head").value), position,
      power: power || null, last: last === this.seen ? null : last,
    };
  }

  tell() {
    const { position, power, last } = this.asked();
    byId("position-value").textContent = position.toLocaleString("en");
    byId("last-value").textContent = last === null ? `all ${this.seen.toLocaleString("en")}` : last.toLocaleString("en");
    byId("power-value").textContent = power === null ? "its own" : power;
  }

  async load() {
    const { analysis } = this;
    const asked = this.asked();
    const row = await analysis.call("stages", asked);
    const key = JSON.stringify(asked);
    if (key !== JSON.stringify(this.asked())) return; // a slider has moved on, its answer comes
    this.row = row;
    this.drawn = asked;
    this.rowOf = key;
    this.draw();
  }

  draw() {
    const { row } = this;
    if (!row || !window.Plotly || byId("stages").hidden) return;
    byId("power-label").hidden = !row.sharpens;
    [...byId("stage-charts").children].forEach((figure, at) => {
      figure.querySelector("code").textContent = row.formulas[at];
      const [x, y] = row.stages[at];
      lineChart(figure.lastElementChild, {
        lines: [{ name: STAGE_NAMES[at], x, y }], xTitle: "key position", yTitle: STAGE_VALUES[at], height: STAGE_HEIGHT,
      });
    });
    byId("stage-note").replaceChildren(`${row.variant}: query `, make("bdi", { class: "site-token" }, freeatten.tokenText(row.token)),
      ` sees N = ${row.count.toLocaleString("en")} keys; ${row.zeros.toLocaleString("en")} get a weight of exactly 0. N·a is a key's share of the row times N: 1 in an even spread.`,
      row.offset === null ? "" : ` Sharpening takes the offset O = ${short(row.offset)} off it.`);
    byId("stage-table").replaceChildren(table({
      caption: "The keys that are read most",
      header: ["token", "score s", "positivity f", "N·a", "weight w"],
      rows: row.strongest.map(({ key, token, values }) => [key.toLocaleString("en"), freeatten.tokenText(token), ...values.map(short)]),
    }));
    byId("stages-command").textContent = row.command;
    byId("stage-charts").dataset.drawn = this.rowOf;
  }

  state() {
    const { layer, head, position, power, last } = this.asked();
    const parts = new URLSearchParams({ m: byId("stage-model").value, layer, head, position });
    if (power !== null) parts.set("p", power);
    if (last !== null) parts.set("last", last);
    return parts;
  }

  /** Whatever a link can say of the tab, as it is shown. */
  values() {
    const [m, layer, head, position, p, last] = ["stage-model", "stage-layer", "stage-head", "position", "power", "last"]
      .map((id) => Number(byId(id).value));
    return { m, layer, head, position, p, last };
  }

  /** What a download says of the row. */
  caption() {
    const { layer, head, position, last, power } = this.drawn;
    const changed = [last === null ? "" : `${last} visible keys`, power === null ? "" : `power ${power}`].filter(Boolean);
    return [this.setup.about(), [`layer ${layer}, head ${head}, query ${position}`, ...changed].join("; "),
      byId("stage-note").textContent, `Made by ${this.row.command}`];
  }

  savePicture(kind) {
    const charts = [...byId("stage-charts").children].map((figure) =>
      ({ chart: figure.lastElementChild, heading: figure.querySelector("figcaption").textContent }));
    return saveCharts("freeatten-stages", kind, { title: `${this.row.variant}: from score to weight`, charts, caption: this.caption() });
  }

  /** The points of the charts, one value a line. */
  async saveCsv() {
    try {
      const { row, drawn: { layer, head, position } } = this;
      const caption = [...this.caption(), "of a long row, the largest value of each stretch of keys"];
      const { tokens } = await this.analysis.call("tokens");
      const lines = row.stages.flatMap(([keys, values], at) => keys.map((key, place) =>
        [row.variant, layer, head, position, STAGE_NAMES[at], key, tokens[key], values[place]]));
      saveValues("freeatten-stages", caption, [["model", "layer", "head", "query", "stage", "key", "token", "value"], ...lines]);
    } catch (error) {
      this.setup.say(error.message, true);
    }
  }

  themed() {
    this.draw();
  }
}
