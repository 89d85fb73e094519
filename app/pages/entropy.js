// The tab Entropy: a statistic against position, and for every layer and head.

const CURVES_HEIGHT = 420;
const ALL = "";
const LOSS = { id: "loss", label: "loss", unit: "nats per token", meaning: "how badly the next token is predicted; a point is the mean of a stretch" };
/** Stretches that a loss is drawn as. */
const STRETCHES = 256;

class EntropyTab {
  /** `mapped` gives what the link to the map says. */
  constructor(setup, statistics, remember, mapped) {
    Object.assign(this, { setup, statistics: [...statistics, LOSS], remember, mapped });
    this.found = [];
    /** The last statistic that takes no scoring: one that is cancelled goes back to it. */
    this.before = "relative_entropy";
    /** The scoring that is on its way. */
    this.scoring = null;
    this.brush = new Brush(byId("curves"), { linked: (...ends) => this.linked(...ends), changed: () => this.remember() });
    byId("statistic").append(...this.statistics.map(({ id, label }) => make("option", { value: id }, label)));
    byId("statistic").value = this.before;
    byId("statistic").addEventListener("change", () => {
      this.scoring?.cancel();
      this.load();
    });
    byId("curves-cancel").addEventListener("click", () => this.scoring?.cancel());
    byId("curve-head").addEventListener("change", () => { this.draw(); this.remember(); });
    for (const kind of ["png", "svg"]) byId(`curves-${kind}`).addEventListener("click", () => this.savePicture(kind));
    byId("curves-csv").addEventListener("click", () => this.saveCsv());
    this.fetch = newest((...given) => this.fetchCurves(...given));
    this.single = new Single(byId("curves"), byId("curve-lines"), false);
  }

  async show(parts) {
    byId("entropy-about").textContent = this.setup.about();
    byId("entropy-shown").hidden = false;
    const known = this.statistics.map(({ id }) => id);
    if (known.includes(parts.get("statistic"))) byId("statistic").value = parts.get("statistic");
    this.wantedHead = parts.get("of") ?? byId("curve-head").value;
    this.brush.show(this.setup.analyses[0].length, parts.get("from"), parts.get("to"));
    await Promise.all([loadPlotly(), this.load()]);
    this.draw();
  }

  load() {
    return this.fetch(this.setup.analyses, byId("statistic").value).catch((error) => this.setup.say(error.message, true));
  }

  async fetchCurves(analyses, statistic) {
    const curves = (one) => one.call("curves", { statistic });
    const found = await (statistic === LOSS.id ? this.scored(analyses) : Promise.all(analyses.map(curves)));
    if (!found) return;
    Object.assign(this, { found, analyses });
    if (statistic !== LOSS.id) this.before = statistic;
    this.fillHeads();
    this.draw();
    this.remember();
  }

  /** The losses of all models; null where that was cancelled, and another statistic is asked for. */
  async scored(analyses) {
    const scoring = new Asked();
    this.scoring = scoring;
    byId("curves-cancel").hidden = false;
    try {
      return await scoring.until(Promise.all(analyses.map((one) => this.losses(one, scoring))));
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
      this.setup.say(this.isLoss ? "Cancelled." : "");
      if (this.isLoss) byId("statistic").value = this.before;
      this.load();
      return null;
    } finally {
      this.scoring = null;
      byId("curves-cancel").hidden = true;
    }
  }

  /** The loss of every token, stretch by stretch, as the curve of a head that is the whole model. */
  async losses(one, scoring) {
    const said = `Scoring every token with ${one.variant}`;
    this.setup.say(said);
    const scored = one.work("start_losses", ({ share }) => {
      if (!scoring.isCancelled) this.setup.say(`${said}: ${Math.round(100 * share)} %`);
    }, (job) => scoring.began(job));
    const [{ color, dash }, { loss }, { command }] = await Promise.all([
      one.call("curves", { statistic: "entropy" }), scored, one.call("loss_command")]);
    this.setup.say("");
    const values = new Float32Array(bytesOf(loss).buffer);
    const size = Math.ceil(values.length / STRETCHES);
    const stretches = Array.from({ length: Math.ceil(values.length / size) }, (_, at) => [...values.slice(at * size, (at + 1) * size)]);
    const means = stretches.map((part) => mean(part.map((value) => (Number.isFinite(value) ? value : null))));
    return {
      color, dash, sinks: null, note: "", command,
      positions: stretches.map((part, at) => at * size + (part.length - 1) / 2), heads: [{ layer: "", head: "", values: means }],
    };
  }

  get isLoss() {
    return byId("statistic").value === LOSS.id;
  }

  /** The map at a stretch, of the head whose curve is drawn. */
  linked(from, to) {
    const own = this.mapped();
    for (const name of PLACES) own.delete(name);
    if (byId("curve-head").value !== ALL) own.set("head", byId("curve-head").value);
    for (const [name, value] of [["q", from], ["k", from], ["span", to - from]]) own.set(name, value);
    return `#map&${new URLSearchParams([...this.setup.current, ...own])}`;
  }

  get statistic() {
    return this.statistics.find(({ id }) => id === byId("statistic").value);
  }

  fillHeads() {
    const wanted = this.wantedHead ?? byId("curve-head").value;
    const names = this.isLoss ? [] : this.found[0].heads.map(nameOf);
    const options = [[ALL, this.isLoss ? "the whole model" : "the mean of all heads"], ...names.map((name) => [name, name])];
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
    byId("entropy-title").textContent = this.isLoss ? "How well is every token predicted?" : "How widely do the heads read?";
    titled("entropy");
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
      mark: first.trained < first.length ? first.trained : null, markText: "trained up to here", range: [0, first.length],
    }).then(() => this.single.drawn());
    byId("curve-lines").replaceChildren(...this.found.map((one, at) => this.legend(one, this.analyses[at])));
    byId("head-tables").replaceChildren(...(this.isLoss ? [] : this.found).map((one, at) => this.table(one, this.analyses[at], named)));
    const name = byId("curve-head").value;
    byId("entropy-command").textContent = this.found.map(({ command, heads }) =>
      (name === ALL ? command : heads.find((one) => nameOf(one) === name).command)).join("\n");
    if (this.brush.length) this.brush.set(...this.brush.ends);
  }

  /** Which head the curves are of. */
  headShown() {
    return byId("curve-head").value || byId("curve-head").selectedOptions[0].textContent;
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
    return make("li", singled([name, value, more].filter(Boolean).join(": ")), swatch({ ...one, sign: "" }), make("span", { class: "site-name" }, name),
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
    for (const [name, value] of Object.entries(this.brush.state)) parts.set(name, value);
    return parts;
  }

  /** Whatever a link can say of the tab, as it is shown. */
  values() {
    const [from, to] = this.brush.ends;
    return { statistic: byId("statistic").value, of: byId("curve-head").value, from, to };
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
