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
    byId("curves-png").addEventListener("click", () => savePicture(byId("curves"), "freeatten-entropy"));
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
    byId("entropy-command").textContent = this.found.map(({ command }) => command).join("\n");
  }

  legend({ color, dash, sinks, note, heads }, { variant }) {
    const all = mean(heads.flatMap(({ values }) => values));
    const sunk = sinks === null ? "" : `${Math.round(sinks * heads.length)} of ${heads.length} heads have a sink at the first token`;
    return make("li", {}, swatch({ color, dash, sign: "" }), make("span", { class: "site-name" }, variant),
      make("span", { class: "site-loss" }, `mean ${short(all)}`),
      make("span", { class: "site-verdict" }, [sunk, note].filter(Boolean).join(". ")));
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

  saveCsv() {
    const lines = this.found.flatMap((one, at) => one.heads.flatMap(({ layer, head, values }) =>
      values.map((value, place) => [this.analyses[at].variant, layer, head, one.positions[place], value])));
    save(csvOf([["variant", "layer", "head", "position", byId("statistic").value], ...lines]), "freeatten-entropy.csv", "text/csv");
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
