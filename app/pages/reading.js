// The tabs Retrieval, Use and About, which only show what is stored.

/** The narrowest chart whose lines have their names at the end. */
const LABELLED = 560;

/** Stored results, a part each: charts, tables, files and the command that made it. */
class Stored {
  constructor(place, { results, make: commands }, theme) {
    this.theme = theme;
    this.charts = results.flatMap((result) => this.chartsOf(result));
    const parts = results.map((result) => this.part(result, this.charts.filter(({ of }) => of === result)));
    const none = [make("p", {}, "No result is stored yet. These commands make one; add --html FILE for a chart:"),
      ...commands.map((text) => make("p", { class: "site-command" }, make("code", {}, text)))];
    byId(place).replaceChildren(...(parts.length ? parts : none));
    this.sizes = new ResizeObserver(() => this.draw());
    for (const { chart } of this.charts) this.sizes.observe(chart);
  }

  /** The lines against the length, and where distances were measured a grid of them. */
  chartsOf(result) {
    if (!result.figures) return [];
    const place = (name) => make("div", { class: "site-plot", role: "img", "aria-label": name });
    const lines = { of: result, chart: place(result.title), figures: result.figures, about: result.reading };
    if (!result.grid) return [lines];
    const { figures, about } = result.grid;
    return [lines, { of: result, chart: place(about), figures, about, isGrid: true }];
  }

  part(result, charts) {
    const { name, title, lines, tables, provenance, command } = result;
    const legend = make("ul", { class: "site-lines site-legend", "aria-label": "the lines" },
      ...lines.map((one) => make("li", singled(one.label), swatch(one), make("span", { class: "site-name" }, one.label))));
    for (const one of charts) if (lines.length && !one.isGrid) one.single = new Single(one.chart, legend);
    const drawn = charts.flatMap(({ chart, about, isGrid }) =>
      [make("p", { class: "site-caption" }, about), chart, ...(isGrid ? [] : [legend])]);
    const kinds = [...(charts.length ? [["png", "Save PNG"], ["svg", "Save SVG"]] : []), ["csv", "Save CSV"]];
    const saves = kinds.map(([kind, text]) => {
      const button = make("button", { type: "button", class: "site-button", id: `${name}-${kind}`, "aria-label": `${text}: ${title}` }, text);
      button.addEventListener("click", () => (kind === "csv" ? this.saveCsv(result) : this.savePicture(result, charts, kind)));
      return button;
    });
    const said = charts.length ? [] : [make("p", { class: "site-caption" }, result.reading)];
    return make("div", { class: "site-task" }, make("h2", {}, title), ...said, ...drawn,
      make("div", { class: "site-downloads" }, ...saves),
      make("p", { class: "site-command" }, "In a terminal: ", make("code", {}, command)),
      make("details", charts.length ? {} : { open: "" }, make("summary", {}, "The numbers as tables"), ...tables.map(table)),
      make("details", {}, make("summary", {}, "How this was measured"), make("p", { class: "site-caption" }, provenance)));
  }

  /** What a download says below its title. */
  caption({ provenance, command }) {
    return [provenance, provenance.includes(command) ? "" : `Made by ${command}`];
  }

  savePicture(result, charts, kind) {
    const { name, title, lines } = result;
    const about = charts.map((one) => one.about).join(" ");
    return saveCharts(`freeatten-${name}`, kind, {
      title, about, charts, lines: lines.map((one) => ({ ...one, text: one.label })), caption: this.caption(result),
    });
  }

  saveCsv(result) {
    saveValues(`freeatten-${result.name}`, [result.title, ...this.caption(result), result.said], [result.header, ...result.values]);
  }

  draw() {
    if (!window.Plotly) return;
    for (const { chart, figures, single } of this.charts) {
      const width = chart.clientWidth;
      if (!width) continue;
      const name = width < LABELLED ? "phone" : "wide";
      drawFigure(chart, figures, name, this.theme()).then(() => single?.drawn());
    }
  }
}

async function showAbout() {
  const { variants, modifiers, cards } = await once("about");
  byId("variants").replaceChildren(table({
    caption: "score → positivity → normalise → sharpen",
    header: ["in charts", "score", "positivity", "normalise", "sharpen", "source"],
    rows: variants,
  }));
  byId("changes").replaceChildren(table({
    caption: "Written behind a variant, as in softmax+yarn",
    header: ["what it changes"],
    rows: modifiers,
  }));
  byId("cards").replaceChildren(...cards.map(({ name, html }) => {
    const body = make("div", { class: "site-card", tabindex: "0", role: "group", "aria-label": `the card of ${name}` });
    body.innerHTML = html; // made by the server, which lets no markup of the card through
    for (const one of body.querySelectorAll("table")) {
      const scroll = make("div", { class: "site-scroll", tabindex: "0" });
      one.replaceWith(scroll);
      scroll.append(one);
    }
    return make("details", {}, make("summary", {}, name), body);
  }));
}
