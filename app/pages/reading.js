// The tabs Retrieval and About, which only show what is stored.

/** The narrowest chart whose lines have their names at the end. */
const LABELLED = 560;

class Retrieval {
  constructor({ results, make: commands }, theme) {
    this.theme = theme;
    this.charts = results.map(({ figures, title }) =>
      [make("div", { class: "site-plot", role: "img", "aria-label": title }), figures]);
    const parts = results.map((result, at) => this.part(result, this.charts[at][0]));
    const none = [make("p", {}, "No result is stored yet. These commands make one; add --html FILE for a chart:"),
      ...commands.map((text) => make("p", { class: "site-command" }, make("code", {}, text)))];
    byId("retrieval-shown").replaceChildren(...(parts.length ? parts : none));
    this.sizes = new ResizeObserver(() => this.draw());
    for (const [chart] of this.charts) this.sizes.observe(chart);
  }

  part({ title, reading, lines, tables, provenance }, chart) {
    const legend = lines.map((one) => make("li", {}, swatch(one), make("span", { class: "site-name" }, one.label)));
    return make("div", { class: "site-task" }, make("h2", {}, title), make("p", { class: "site-caption" }, reading), chart,
      make("ul", { class: "site-lines site-legend" }, ...legend),
      make("details", {}, make("summary", {}, "The numbers as tables"), ...tables.map(table)),
      make("details", {}, make("summary", {}, "How this was measured"), make("p", { class: "site-caption" }, provenance)));
  }

  draw() {
    if (!window.Plotly) return;
    for (const [chart, figures] of this.charts) {
      const width = chart.clientWidth;
      if (!width) continue;
      const name = width < LABELLED ? "phone" : "wide";
      chart.parentElement.classList.toggle("site-slim", name === "phone");
      drawFigure(chart, figures, name, this.theme());
    }
  }
}

async function showAbout() {
  const { variants, modifiers, cards } = await once("about");
  byId("variants").replaceChildren(table({
    caption: "score → positivity → normalise → sharpen",
    header: ["score", "positivity", "normalise", "sharpen", "source"],
    rows: variants,
  }));
  byId("changes").replaceChildren(table({
    caption: "Written behind a variant, as in softmax+yarn",
    header: ["what it changes"],
    rows: modifiers,
  }));
  byId("cards").replaceChildren(...cards.map(({ name, html }) => {
    const body = make("div", { class: "site-card" });
    body.innerHTML = html; // made by the server, which lets no markup of the card through
    for (const one of body.querySelectorAll("table")) {
      const scroll = make("div", { class: "site-scroll", tabindex: "0" });
      one.replaceWith(scroll);
      scroll.append(one);
    }
    return make("details", {}, make("summary", {}, name), body);
  }));
}
