// The Compare screen: one stored result as charts, lines and tables.

const WIDE = 1060;
const STACKED = 620;
const CHART = { displayModeBar: false, showSendToCloud: false, scrollZoom: false, doubleClick: false };
/** Lengths of a line's dashes, in its widths. */
const DASHES = { solid: "", dot: "2 3", dash: "6 4", longdash: "10 4", dashdot: "7 3 2 3", longdashdot: "10 3 2 3" };
/** The choice of a result that is made on demand. */
const OWN_RESULT = "own";
/** How much is left of lines when another one is singled out. */
const BEHIND = 0.12;
/** Milliseconds after which a frame is no longer waited for. */
const LONGEST_PAINT = 1000;
const KINDS = { hurts: "site-hurts", uses: "site-uses" };

/** How a variant is drawn in the charts. */
function swatch({ color, dash, sign }) {
  return make("svg", { width: "40", height: "16", "aria-hidden": "true" },
    make("line", { x1: "1", x2: "39", y1: "8", y2: "8", stroke: color, "stroke-width": "2.2", "stroke-dasharray": DASHES[dash] ?? "" }),
    make("text", { x: "20", y: "13", "text-anchor": "middle", fill: color, "font-size": "15" }, sign));
}

/** A part of a figure with what differs: by key or place, or in its stead. */
function changed(part, other) {
  if (typeof other !== "object") return other;
  const whole = Array.isArray(part) ? [...part] : { ...part };
  for (const [key, value] of Object.entries(other)) whole[key] = changed(part[key], value);
  return whole;
}

/** The layout of a figure in a theme. */
function layoutOf({ layouts, dark }, name, theme) {
  return theme === "dark" ? changed(layouts[name], dark[name]) : layouts[name];
}

/** Draws the figure of a layout and a theme as wide as its place. */
function drawFigure(chart, figures, name, theme) {
  const { data, layout } = structuredClone({ data: figures.data, layout: layoutOf(figures, name, theme) });
  for (const { textfont } of data) if (textfont) textfont.color = layout.font.color; // data is of no theme
  // what the ticks say fits the margins; to look whether it does would lay the page out once more
  for (const axis of axesOf(layout)) layout[axis].ticklabeloverflow = "allow";
  chart.dataset.drawn = `${name} ${theme}`;
  return window.Plotly.react(chart, data, { ...layout, width: chart.clientWidth }, CHART);
}

/** When what has been drawn is on the screen; a page that nobody looks at has no frames. */
function painted() {
  return new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, LONGEST_PAINT);
  });
}

/** What became of a row, with its mark, and its style. */
function verdictOf(row) {
  const delta = [`Δ\u00a0${row.delta}`, row.controls].filter(Boolean).join(", ");
  return [`${row.mark} ${row.verdict ? `${row.verdict} (${delta})` : delta}`.trim(), KINDS[row.kind] ?? ""];
}

/** Attributes of a row that singles out its line. */
function singled(said) {
  return { tabindex: "0", "aria-label": `${said}. Enter keeps its line singled out` };
}

function line(row) {
  const [said, style] = verdictOf(row);
  const code = row.id === row.label ? [] : [" ", make("code", {}, row.id)];
  return make("li", singled(`${row.label}: loss ${row.loss}; ${said}`), swatch(row), make("span", { class: "site-name" }, row.label, ...code),
    make("span", { class: "site-loss" }, make("span", { class: "site-word" }, "loss "), row.loss),
    make("span", { class: `site-verdict ${style}` }, said));
}

function layout(width) {
  if (width >= WIDE) return "wide";
  return width >= STACKED ? "stacked" : "phone";
}

/** Maps as small pictures, on one scale, that lead to the large ones. */
function smallMaps(maps) {
  const scale = freeatten.sharedScale(maps.map((one) => one.scale));
  return maps.map((one) => {
    const canvas = make("canvas", { role: "img", "aria-label": `where a head of ${one.label} looks` });
    freeatten.thumbnail(canvas, one, scale);
    const trained = make("i", { style: `top: ${one.trained * 100}%` });
    return make("figure", {}, make("a", { href: one.link ?? "#map" },
      make("div", { class: "site-picture" }, canvas, ...(one.trained < 1 ? [trained] : [])),
      make("figcaption", {}, one.label, make("span", {}, one.where))));
  });
}

/** A result's rows by their ids; its tables have all. A figure has a panel's lines, then the next's. */
function pickedRows({ lines, figures, ...whole }, ids) {
  const isPicked = lines.map(({ id }) => ids.includes(id));
  const data = figures.data.filter((_, at) => isPicked[at % isPicked.length]);
  return { lines: lines.filter((_, at) => isPicked[at]), figures: { ...figures, data }, ...whole };
}

/** Which of many rows are drawn: ticks, those of the first screen unless a link says otherwise. */
class Picks {
  constructor(changed) {
    this.root = byId("picks");
    this.root.addEventListener("change", changed);
  }

  get ids() {
    return [...this.root.querySelectorAll(":checked")].map(({ value }) => value);
  }

  /** Shows the ticks of a result that has many rows, and none for others; those asked for in vain. */
  offer({ all, picked }, asked) {
    this.root.hidden = !picked;
    const wanted = (asked ?? "").split(",").filter(Boolean);
    if (!picked) return wanted;
    const isKnown = (id) => all.lines.some((one) => one.id === id);
    const known = wanted.filter(isKnown);
    const ticked = known.length ? known : picked;
    this.root.lastElementChild.replaceChildren(...all.lines.map((row) => {
      const box = make("input", { type: "checkbox", value: row.id });
      box.checked = ticked.includes(row.id);
      return make("label", { title: row.id }, box, swatch(row), make("span", {}, row.label));
    }));
    this.picked = picked.join();
    return wanted.filter((id) => !isKnown(id));
  }

  /** What a link has to say; nothing for the rows of the first screen. */
  get state() {
    const ids = this.ids.join();
    return this.root.hidden || ids === this.picked ? null : ids;
  }

  /** The part of a result that is drawn; its first rows have their names at their ends. */
  rows({ main, all }) {
    const count = `${this.ids.length} of ${all.lines.length}`;
    this.root.firstElementChild.textContent = `Choose the lines of the chart: ${count} are drawn; the tables have all`;
    const { tables, values } = all;
    return this.state === null ? { ...main, tables, values } : pickedRows(all, this.ids);
  }
}

/** Singles out the line of a row that is pointed at, in the chart or the list; a click keeps it. */
class Single {
  /** `isByChart`: the chart tells of one line at a time, and not of all at a position. */
  constructor(chart, list, isByChart = true) {
    Object.assign(this, { chart, list, kept: null, shown: null, isHeard: !isByChart });
    const at = (event) => {
      const row = event.target.closest("li");
      return row ? [...list.children].indexOf(row) : null;
    };
    for (const name of ["pointerover", "focusin"]) list.addEventListener(name, (event) => this.show(at(event)));
    for (const name of ["pointerleave", "focusout"]) list.addEventListener(name, () => this.show(this.kept));
    list.addEventListener("click", (event) => this.keep(at(event)));
    list.addEventListener("keydown", (event) => { if (event.key === "Enter") this.keep(at(event)); });
  }

  /** A chart has been drawn, which has every line. */
  drawn() {
    if (!this.isHeard) {
      this.isHeard = true;
      this.chart.on("plotly_hover", ({ points }) => this.show(points[0].curveNumber % this.list.children.length));
      this.chart.on("plotly_unhover", () => this.show(this.kept));
    }
    this.shown = null;
    if (this.kept >= this.list.children.length) this.kept = null;
    this.show(this.kept);
  }

  keep(row) {
    this.kept = this.kept === row ? null : row;
    this.show(this.kept);
  }

  show(row) {
    if (row === this.shown || !this.chart.data) return;
    this.shown = row;
    const many = this.list.children.length;
    [...this.list.children].forEach((one, at) => one.classList.toggle("site-behind", row !== null && at !== row));
    const opacity = this.chart.data.map((_, at) => (row === null || at % many === row ? 1 : BEHIND));
    window.Plotly.restyle(this.chart, { opacity });
  }
}

class Compare {
  /**
   * `results` to choose from, the paper's table, `read` of one of them by its id, `library` that
   * loads Plotly, `theme`, and `remember` of the state for a link. `own`, where there is a server,
   * makes new results: its `label`, `toggle` of what asks for them, and `show` of a state.
   * `linked` gives the address of maps that a picture is of; `words`, where there is a server, the
   * texts of a result that lie on its machine.
   */
  constructor({ story, results, paper, read, library, theme, remember, linked, own = null, words = null }) {
    Object.assign(this, { results, read, library, theme, remember, linked, own, words });
    byId("words").addEventListener("toggle", () => { if (byId("words").open) this.offerWords().catch(({ message }) => { byId("words-said").textContent = message; }); });
    byId("words-text").addEventListener("change", () => this.linkWords());
    this.story = new Story(story, { changed: () => this.remember(this.state().toString()), linked });
    this.figures = null;
    const options = own ? [...results, { id: OWN_RESULT, label: own.label }] : results;
    byId("result").append(...options.map(({ id, label }) => make("option", { value: id }, label)));
    byId("paper").append(table(paper));
    for (const id of ["result", "all"]) byId(id).addEventListener("change", () => this.chosen());
    this.picks = new Picks(() => this.pick());
    for (const kind of ["png", "svg"]) byId(`compare-${kind}`).addEventListener("click", () => this.savePicture(kind));
    byId("compare-csv").addEventListener("click", () => this.saveCsv());
    new ResizeObserver(() => this.fit()).observe(byId("chart"));
    this.single = new Single(byId("chart"), byId("lines"));
  }

  /** Shows what a link says; `elsewhere` are parts of it that are not here, and not of this screen. */
  async show(state, elsewhere = []) {
    const asked = new URLSearchParams(state);
    byId("result").value = asked.get("result");
    const isKnown = Boolean(byId("result").value);
    if (!isKnown) byId("result").value = this.results[0].id;
    byId("all").checked = asked.get("all") === "1";
    const unmet = [...elsewhere];
    if (asked.get("result") && !isKnown) unmet.push(`result=${asked.get("result")}`);
    if (!this.story.show(asked.get("step"))) unmet.push(`step=${asked.get("step")}`);
    this.tellUnmet(unmet);
    await this.fill(asked, unmet);
  }

  /** Makes the chart answer to the pointer: the library starts when there is something to look at. */
  async enliven() {
    await painted();
    await this.library();
    this.draw();
  }

  /** Says which parts of a link are not here. */
  tellUnmet(parts) {
    byId("unmet").hidden = !parts.length;
    byId("unmet").textContent = `The link asks for ${parts.join(", ")}, which is not here; shown is ${byId("result").selectedOptions[0].textContent}.`;
  }

  /** What a link says: the result, which of its rows are shown, and the step of the story. */
  state() {
    const state = new URLSearchParams({ result: byId("result").value });
    if (byId("all").checked) state.set("all", "1");
    if (this.result?.picked && this.shownId === byId("result").value && this.picks.state !== null) state.set("rows", this.picks.state);
    if (this.story.state) state.set("step", this.story.state);
    return state;
  }

  chosen() {
    const state = this.state();
    this.remember(state.toString());
    this.tellUnmet([]);
    return this.fill(state);
  }

  /** Shows what is chosen; `unmet` are parts of its link that are not here. */
  async fill(state, unmet = []) {
    const id = byId("result").value;
    this.own?.toggle(id === OWN_RESULT);
    if (id === OWN_RESULT) {
      for (const one of [byId("all").parentElement, byId("picks")]) one.hidden = true;
      this.shownId = null;
      await this.own.show(state);
      return;
    }
    if (id !== this.shownId) {
      for (const one of [byId("all").parentElement, byId("picks")]) one.hidden = true;
      this.present({ title: byId("result").selectedOptions[0].textContent, answer: "This result is being loaded." });
    }
    const result = await this.read(id);
    if (id !== byId("result").value) return;
    this.shownId = id;
    this.result = result;
    byId("all").parentElement.hidden = !result.all || Boolean(result.picked);
    const missing = this.picks.offer(result, state.get("rows"));
    if (missing.length) this.tellUnmet([...unmet, `rows=${missing.join(",")}`]);
    this.present(result, this.rows());
    byId("words").hidden = !this.words;
    byId("words").open = false;
  }

  /** Of its texts a result has digests: those that lie here can be read, word by word. */
  async offerWords() {
    const { shownId: id, result } = this;
    byId("words-chosen").hidden = true;
    byId("words-said").textContent = "Looking for them by their digests";
    const { texts, of } = await this.words(id);
    if (id !== this.shownId) return;
    byId("words-chosen").hidden = !texts.length;
    byId("words-said").textContent = texts.length
      ? `Of the ${of} texts of this result ${texts.length} ${texts.length === 1 ? "is" : "are"} on this machine, by their digests.`
      : `The result has numbers and digests of its ${of || ""} texts, and none of them is on this machine.`.replace("  ", " ");
    byId("words-text").replaceChildren(...texts.map(({ digest, name }) => make("option", { value: digest }, name)));
    this.readers = result.evidence?.pictures.map(({ link }) => new URLSearchParams(link).get("models")) ?? [];
    this.linkWords();
  }

  linkWords() {
    const parts = new URLSearchParams({ text: byId("words-text").value, seed: "0" });
    if (this.readers.length) parts.set("models", this.readers.join(","));
    byId("words-link").setAttribute("href", `#map&${parts}`);
  }

  /** The part of a stored result that is asked for. */
  rows() {
    const { picked, main, all } = this.result;
    return picked ? this.picks.rows(this.result) : byId("all").checked && all ? all : main;
  }

  /** A line was ticked, or no longer is. */
  pick() {
    this.remember(this.state().toString());
    this.present(this.result, this.rows());
  }

  /** Shows a result, or no more than a title and a sentence. */
  present({ title, answer, provenance = "", command = "", evidence = null }, rows = null) {
    byId("why").closest("section").hidden = !evidence;
    byId("words").hidden = true;
    byId("evidence").textContent = evidence?.caption ?? "";
    byId("thumbnails").replaceChildren(...(evidence ? smallMaps(evidence.pictures.map((one) => ({ ...one, link: this.linked(one.link) }))) : []));
    byId("title").textContent = title;
    if (!byId("compare").hidden) titled("compare");
    byId("answer").textContent = answer;
    byId("provenance").textContent = provenance;
    byId("command").textContent = command;
    const parts = [byId("chart"), byId("provenance"), byId("command")].map((one) => one.parentElement);
    for (const one of [...parts, byId("tables"), ...["png", "svg", "csv"].map((kind) => byId(`compare-${kind}`))]) one.hidden = !rows;
    byId("lines").replaceChildren(...(rows?.lines ?? []).map(line));
    byId("tables").replaceChildren(byId("tables").firstElementChild, ...(rows?.tables ?? []).map(table));
    byId("chart").setAttribute("aria-label", `Loss and Δ against context length. ${answer}`);
    this.figures = rows?.figures ?? null;
    this.rowsShown = rows;
    const chosen = byId("result").selectedOptions[0]?.textContent;
    this.caption = [[chosen, provenance].filter(Boolean).join(": "), command && `Made by ${command}`];
    this.draw();
  }

  savePicture(kind) {
    const lines = this.rowsShown.lines.map((row) => ({ ...row, text: `${row.label}: loss ${row.loss}; ${verdictOf(row)[0]}` }));
    const [title, about] = ["title", "answer"].map((id) => byId(id).textContent);
    return saveCharts("freeatten-compare", kind, { title, about, charts: [{ chart: byId("chart") }], lines, caption: this.caption });
  }

  /** The values of the tables, one a line. */
  saveCsv() {
    const header = ["measure", "variant", "tokens", "value", "low", "high", "n"];
    const said = "low and high: the 95 % interval of the mean over n texts; nats per token";
    saveValues("freeatten-compare", [byId("title").textContent, ...this.caption, said], [header, ...this.rowsShown.values]);
  }

  /** Draws anew where the page's width is another than what was drawn has. */
  fit() {
    if (byId("chart").clientWidth !== this.width) this.draw();
  }

  /** Draws the figure that fits; its width is the page's. */
  draw() {
    const chart = byId("chart");
    const width = this.figures ? chart.clientWidth : 0;
    this.width = width;
    if (!width) return;
    if (!window.Plotly) {
      this.drawQuick(chart, width);
      return;
    }
    if (!chart.data) chart.replaceChildren();
    drawFigure(chart, this.figures, layout(width), this.theme()).then(() => this.single.drawn());
  }

  drawQuick(chart, width) {
    const name = layout(width);
    const drawn = layoutOf(this.figures, name, this.theme());
    if (!QuickChart.takes(drawn)) {
      chart.replaceChildren();
      return;
    }
    chart.replaceChildren(new QuickChart(this.figures.data, drawn, width).root);
    chart.dataset.seen = `${name} ${this.theme()}`;
  }
}
