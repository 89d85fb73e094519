// The tab Entropy: a statistic against position, and for every layer and head.

const CURVES_HEIGHT = 420;
const ALL = "";

class EntropyTab {
  constructor(setup, statistics, remember) {
    Object.assign(this, { setup, statistics, remember });
    this.found = [];
    byId("statistic").append(...statistics.map(({ id, label }) => make("option", { value: id }, label)));
    byId("statistic").value = "relative_entropy";
    byId("statistic").addEventListener("change", () => this.load());
    byId("curve-head").addEventListener("change", () => { this.draw(); this.remember(); });
    for (const kind of ["png", "svg"]) byId(`curves-${kind}`).addEventListener("click", () => this.savePicture(kind));
    byId("curves-csv").addEventListener("click", () => this.saveCsv());
    this.fetch = newest((...given) => this.fetchCurves(...given));
  }

  async show(parts) {
    byId("entropy-about").textContent = this.setup.about();
    byId("entropy-shown").hidden = false;
    const known = this.statistics.map(({ id }) => id);
    if (known.includes(parts.get("statistic"))) byId("statistic").value = parts.get("statistic");
    this.wantedHead = parts.get("of") ?? byId("curve-head").value;
    await Promise.all([loadPlotly(), this.load()]);
    this.draw();
  }

  load() {
    return this.fetch(this.setup.analyses, byId("statistic").value).catch((error) => this.setup.say(error.message, true));
  }

  async fetchCurves(analyses, statistic) {
    this.found = await Promise.all(analyses.map((one) => one.call("curves", { statistic })));
    this.analyses = analyses;
    this.fillHeads();
    this.draw();
    this.remember();
  }

  get statistic() {
    return this.statistics.find(({ id }) => id === byId("statistic").value);
  }

  fillHeads() {
    const wanted = this.wantedHead ?? byId("curve-head").value;
    const names = this.found[0].heads.map(nameOf);
    const options = [[ALL, "the mean of all heads"], ...names.map((name) => [name, name])];
    byId("curve-head").replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    byId("curve-head").value = names.includes(wanted) ? wanted : ALL;
    this.wantedHead = undefined;
  }

  curve({ heads }) {
    const name = byId("curve-head").value;
    if (name !== ALL) return heads.find((one) => nameOf(one) === name)?.values ?? [];
    return heads[0].values.map((_, at) => mean(heads.map(({ values }) => values[at])));
  }

  draw() {
    if (!this.found.length || !window.Plotly || byId("entropy").hidden) return;
    const { label, unit, meaning } = this.statistic;
    const named = unit ? `${label} (${unit})` : label;
    byId("statistic-meaning").textContent = `${named}: ${meaning}`;
    byId("curves").setAttribute("aria-label", `${named} against position`);
    const [first] = this.analyses;
    lineChart(byId("curves"), {
      lines: this.found.map((one, at) => ({
        name: this.analyses[at].variant, x: one.positions, y: this.curve(one), color: one.color, dash: one.dash,
      })),
      xTitle: "position (tokens)", yTitle: named, height: CURVES_HEIGHT,
      mark: first.trained < first.length ? first.trained : null, markText: "trained up to here",
    });
    byId("curve-lines").replaceChildren(...this.found.map((one, at) => this.legend(one, this.analyses[at])));
    byId("head-tables").replaceChildren(...this.found.map((one, at) => this.table(one, this.analyses[at], named)));
    const name = byId("curve-head").value;
    byId("entropy-command").textContent = this.found.map(({ command, heads }) =>
      (name === ALL ? command : heads.find((one) => nameOf(one) === name).command)).join("\n");
  }

  /** Which head the curves are of. */
  headShown() {
    return byId("curve-head").value || "the mean of all heads";
  }

  /** Name, mean of what is drawn, and what else is known of a model. */
  said(one, { variant }) {
    const { sinks, note, heads } = one;
    const name = byId("curve-head").value;
    const sunk = sinks === null ? "" : `${Math.round(sinks * heads.length)} of ${heads.length} heads have a sink at the first token`;
    return [variant, `${name === ALL ? "mean" : `${name}: mean`} ${short(mean(this.curve(one)))}`, [sunk, note].filter(Boolean).join(". ")];
  }

  legend(one, analysis) {
    const [name, value, more] = this.said(one, analysis);
    return make("li", {}, swatch({ ...one, sign: "" }), make("span", { class: "site-name" }, name),
      make("span", { class: "site-loss" }, value), make("span", { class: "site-verdict" }, more));
  }

  table({ heads }, { variant }, named) {
    const layers = [...new Set(heads.map(({ layer }) => layer))];
    const numbers = [...new Set(heads.map(({ head }) => head))];
    const of = (layer, head) => heads.find((one) => one.layer === layer && one.head === head);
    return table({
      caption: `${variant}: mean ${named}`,
      header: numbers.map((head) => `head ${head}`),
      rows: layers.map((layer) => [`layer ${layer}`, ...numbers.map((head) => short(mean(of(layer, head)?.values ?? [])))]),
    });
  }

  state() {
    const parts = new URLSearchParams({ statistic: byId("statistic").value });
    if (byId("curve-head").value !== ALL) parts.set("of", byId("curve-head").value);
    return parts;
  }

  /** What a download says of the curves. */
  caption() {
    return [this.setup.about(), byId("statistic-meaning").textContent, `Shown: ${this.headShown()}`,
      `Made by ${byId("entropy-command").textContent}`];
  }

  savePicture(kind) {
    const lines = this.found.map((one, at) => ({ ...one, text: this.said(one, this.analyses[at]).filter(Boolean).join("; ") }));
    const title = byId("curves").getAttribute("aria-label");
    return saveCharts("freeatten-entropy", kind, { title, charts: [{ chart: byId("curves") }], lines, caption: this.caption() });
  }

  /** The values that are drawn, one a line; those of every head where their mean is. */
  saveCsv() {
    const name = byId("curve-head").value;
    const statistic = byId("statistic").value;
    const lines = this.found.flatMap((one, at) => one.heads.filter((each) => name === ALL || nameOf(each) === name)
      .flatMap(({ layer, head, values }) => values.map((value, place) =>
        [this.analyses[at].variant, layer, head, one.positions[place], statistic, value])));
    saveValues("freeatten-entropy", this.caption(), [["model", "layer", "head", "position", "statistic", "value"], ...lines]);
  }

  themed() {
    this.draw();
  }
}

/** Of the numbers among them; null without any. */
function mean(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
