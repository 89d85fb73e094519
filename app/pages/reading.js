// The tabs Retrieval and About, which only show what is stored.

async function showRetrieval(theme) {
  const { results, make: commands } = await once("retrieval");
  await loadPlotly();
  const shown = byId("retrieval-shown");
  if (!results.length) {
    shown.replaceChildren(make("p", {}, "No result is stored yet. These commands make one; add --html FILE for a chart:"),
      ...commands.map((text) => make("p", { class: "site-command" }, make("code", {}, text))));
    return;
  }
  const parts = results.map(({ reading, provenance }) => {
    const chart = make("div", { class: "site-plot" });
    return make("div", {}, make("div", { class: "site-scroll", tabindex: "0" }, chart),
      make("p", { class: "site-caption" }, reading), make("p", { class: "site-caption" }, provenance));
  });
  shown.replaceChildren(...parts);
  results.forEach(({ figures }, at) => {
    const { data, layout } = structuredClone(figures[theme]);
    window.Plotly.react(parts[at].querySelector(".site-plot"), data, layout, CHART);
  });
}

async function showAbout() {
  const { variants, cards } = await once("about");
  byId("variants").replaceChildren(table({
    caption: "score → positivity → normalise → sharpen",
    header: ["score", "positivity", "normalise", "sharpen", "source"],
    rows: variants,
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
