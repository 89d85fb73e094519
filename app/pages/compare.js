// The Compare screen: one stored result as charts, lines and tables.

const WIDE = 1060;
const STACKED = 620;
const CHART = { displayModeBar: false, showSendToCloud: false, scrollZoom: false, doubleClick: false };
/** Lengths of a line's dashes, in its widths. */
const DASHES = { solid: "", dot: "2 3", dash: "6 4", longdash: "10 4", dashdot: "7 3 2 3", longdashdot: "10 3 2 3" };
const KINDS = { hurts: ["▲", "site-hurts"], uses: ["▼", "site-uses"] };

/** How a variant is drawn in the charts. */
function swatch({ color, dash, sign }) {
  return make("svg", { width: "40", height: "16", "aria-hidden": "true" },
    make("line", { x1: "1", x2: "39", y1: "8", y2: "8", stroke: color, "stroke-width": "2.2", "stroke-dasharray": DASHES[dash] ?? "" }),
    make("text", { x: "20", y: "13", "text-anchor": "middle", fill: color, "font-size": "15" }, sign));
}

function line(row) {
  const [mark, style] = KINDS[row.kind] ?? ["", ""];
  return make("li", {}, swatch(row), make("span", { class: "site-name" }, row.label),
    make("span", { class: "site-loss" }, make("span", { class: "site-word" }, "loss "), row.loss),
    make("span", { class: `site-verdict ${style}` }, `${mark} ${row.verdict} (Δ\u00a0${row.delta})`.trim()));
}

function layout(width) {
  if (width >= WIDE) return "wide";
  return width >= STACKED ? "stacked" : "phone";
}

/** Saves a chart as it stands, on the page's paper. */
function savePicture(chart, filename) {
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--fa-paper").trim();
  const figure = { data: chart.data, layout: { ...chart.layout, paper_bgcolor: paper, showlegend: true } };
  const size = { width: chart.clientWidth, height: chart.clientHeight };
  return window.Plotly.downloadImage(figure, { format: "png", scale: 2, filename, ...size });
}

class Compare {
  /**
   * `results` to choose from, the paper's table, `read` of one of them by its id, `library` that
   * loads Plotly, `theme`, and `remember` of the state for a link.
   */
  constructor({ results, paper, read, library, theme, remember }) {
    Object.assign(this, { results, read, library, theme, remember });
    this.figures = null;
    byId("result").append(...results.map(({ id, label }) => make("option", { value: id }, label)));
    byId("paper").append(table(paper));
    for (const id of ["result", "all"]) byId(id).addEventListener("change", () => this.chosen());
    byId("compare-png").addEventListener("click", () => savePicture(byId("chart"), "freeatten-compare"));
    byId("compare-csv").addEventListener("click", () => this.saveCsv());
    new ResizeObserver(() => this.draw()).observe(byId("chart"));
  }

  async show(state) {
    const asked = new URLSearchParams(state);
    const known = this.results.map(({ id }) => id);
    const id = known.includes(asked.get("result")) ? asked.get("result") : known[0];
    byId("result").value = id;
    byId("all").checked = asked.get("all") === "1";
    await Promise.all([this.fill(id), this.library().then(() => this.draw())]);
  }

  chosen() {
    const state = new URLSearchParams({ result: byId("result").value });
    if (byId("all").checked) state.set("all", "1");
    this.remember(state.toString());
    return this.fill(byId("result").value);
  }

  async fill(id) {
    const result = await this.read(id);
    const rows = result[byId("all").checked ? "all" : "main"];
    byId("title").textContent = document.title = result.title;
    byId("answer").textContent = result.answer;
    byId("provenance").textContent = result.provenance;
    byId("command").textContent = result.command;
    byId("lines").replaceChildren(...rows.lines.map(line));
    byId("tables").replaceChildren(byId("tables").firstElementChild, ...rows.tables.map(table));
    byId("chart").setAttribute("aria-label", `Loss and Δ against context length. ${result.answer}`);
    this.figures = rows.figures;
    this.tables = rows.tables;
    this.draw();
  }

  saveCsv() {
    const [{ header }] = this.tables;
    const lines = this.tables.flatMap(({ caption, rows }) => rows.map((row) => [caption, ...row]));
    save(csvOf([["measure", "variant", ...header], ...lines]), "freeatten-compare.csv", "text/csv");
  }

  /** Draws the figure that fits; its width is the page's. */
  draw() {
    const chart = byId("chart");
    const width = chart.clientWidth;
    if (!this.figures || !width || !window.Plotly) return;
    const name = layout(width);
    const figure = structuredClone(this.figures[this.theme()][name]);
    chart.dataset.drawn = `${name} ${this.theme()}`;
    window.Plotly.react(chart, figure.data, { ...figure.layout, width }, CHART);
  }
}
