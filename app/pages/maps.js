// The tab Map: the component over the server's functions.

const KEPT_ROWS = 64;
const COMMAND_DELAY = 300;
/** The smallest weight that float32 holds with all its digits. */
const LEAST = 1e-38;

/** A map on the server: the interface of the component's own sources. */
class ServerSource {
  constructor(analysis, layer, head, meta) {
    Object.assign(this, { analysis, place: { layer, head }, meta });
    this.rows = new Map();
    this.queue = Promise.resolve();
    this.latest = null;
  }

  last(query) {
    return query;
  }

  async region(q0, q1, k0, k1, cells) {
    const found = await this.analysis.call("region", { ...this.place, q0, q1, k0, k1, cells });
    return { ...found, codes: bytesOf(found.codes), weights: null };
  }

  /** A query's exact weights; null when a newer query has been asked for meanwhile. */
  row(query) {
    const known = this.rows.get(query);
    if (known) return known;
    this.latest = query;
    const made = this.queue.then(() => (this.latest === query ? this.fetchRow(query) : null));
    this.queue = made.catch(() => {});
    this.keep(query, made);
    made.then((row) => { if (!row) this.rows.delete(query); }, () => this.rows.delete(query));
    return made;
  }

  keep(query, made) {
    this.rows.set(query, made);
    if (this.rows.size > KEPT_ROWS) this.rows.delete(this.rows.keys().next().value);
  }

  async fetchRow(query) {
    const { weights, zeros } = await this.analysis.call("row", { ...this.place, query });
    return { weights: new Float32Array(bytesOf(weights).buffer), zeros };
  }

  async weight(query, key) {
    if (key > query) return { value: 0, kind: "hidden" };
    const row = await this.row(query);
    if (!row) return { value: 0, kind: "hidden" };
    const value = row.weights[key];
    return { value, kind: value === 0 && row.zeros ? "zero" : "weight", least: LEAST };
  }

  async strongest(query, count) {
    const row = await this.row(query);
    if (!row) return [];
    const found = Array.from(row.weights, (value, key) => ({ key, value })).filter(({ value }) => value > 0);
    return found.sort((a, b) => b.value - a.value).slice(0, count);
  }
}

class MapTab {
  constructor(setup, statistics, theme, remember) {
    Object.assign(this, { setup, statistics, theme, remember });
    this.view = null;
    this.shown = [];
    byId("sort").append(make("option", { value: "" }, "layer and head"), ...statistics.map(({ id, label }) =>
      make("option", { value: id }, label)));
    for (const id of ["sort", "sort-model"]) byId(id).addEventListener("change", () => { this.fillHeads(); this.changed(); });
    byId("save-page").addEventListener("click", () => this.guarded(() => this.savePage()));
    byId("save-csv").addEventListener("click", () => this.guarded(() => this.saveCsv()));
    this.tellCommand = newest(() => this.writeCommand());
  }

  async show(parts) {
    const analyses = this.setup.analyses;
    byId("map-shown").hidden = false;
    if (this.shown !== analyses) await this.open(analyses, parts);
    else if (this.view && parts.toString() !== this.view.state()) await this.view.restore(parts.toString());
    this.view.resized();
    byId("map-about").textContent = this.setup.about();
  }

  async open(analyses, parts) {
    const [first] = analyses;
    const { tokens } = await first.call("tokens");
    this.tables = await Promise.all(analyses.map((one) => one.call("heads")));
    if (!parts.has("head")) parts.set("head", this.farthest());
    this.view?.destroy();
    this.shown = analyses;
    if ([...byId("sort").options].some(({ value }) => value === parts.get("sort"))) byId("sort").value = parts.get("sort");
    this.fillModels(analyses);
    byId("maps").replaceChildren();
    const root = make("div");
    byId("maps").append(root);
    this.view = new freeatten.MapView(root, {
      maps: this.entries(analyses), tokens, state: parts.toString(), theme: this.theme(),
      title: `${analyses.map((one) => one.variant).join(", ")}`, onState: () => this.changed(),
    });
    freeatten.page = this.view;
    await this.view.ready;
    this.fillHeads();
    this.changed();
  }

  /** The head of the first model that reads farthest back: a map worth a first look. */
  farthest() {
    const heads = [...this.tables[0].heads].sort((a, b) => b.values.mean_distance - a.values.mean_distance);
    return nameOf(heads[0]);
  }

  entries(analyses) {
    return this.tables[0].heads.flatMap(({ layer, head }) => analyses.map((one) => ({
      name: one.variant,
      head: nameOf({ layer, head }),
      load: async () => new ServerSource(one, layer, head, await one.call("open_map", { layer, head })),
    })));
  }

  fillModels(analyses) {
    const options = analyses.map((one, at) => make("option", { value: at }, one.variant));
    byId("sort-model").replaceChildren(...options);
  }

  // The overview of heads

  fillHeads() {
    const key = byId("sort").value;
    const model = Number(byId("sort-model").value) || 0;
    byId("sort-model").parentElement.hidden = !key || this.tables.length < 2;
    const order = [...this.tables[model].heads];
    if (key) order.sort((a, b) => (b.values[key] ?? -Infinity) - (a.values[key] ?? -Infinity));
    const shown = key || "relative_entropy";
    const { label, unit, meaning } = this.statistics.find(({ id }) => id === shown);
    byId("heads-note").textContent = `Every head with its mean ${label}${unit ? ` (${unit})` : ""}: ${meaning}`;
    byId("heads").replaceChildren(...order.map((one) => this.headButton(one, shown)));
    this.markHead();
  }

  headButton({ layer, head }, key) {
    const name = nameOf({ layer, head });
    const values = this.tables.map(({ heads }) => heads.find((one) => one.layer === layer && one.head === head)?.values[key]);
    const lines = values.map((value, at) => make("span", { class: "site-head-value" },
      make("span", {}, this.shown[at].variant), ` ${short(value)}`));
    const button = make("button", { type: "button", class: "site-head", "data-head": name }, make("b", {}, name), ...lines);
    button.addEventListener("click", () => this.view.show(name, this.view.difference).then(() => this.changed()));
    return button;
  }

  markHead() {
    for (const button of byId("heads").children) {
      button.setAttribute("aria-pressed", String(button.dataset.head === this.view?.head));
    }
  }

  // State, downloads

  state() {
    const parts = new URLSearchParams(this.view?.state() ?? "");
    if (byId("sort").value) parts.set("sort", byId("sort").value);
    return parts;
  }

  changed() {
    if (!this.view) return;
    this.markHead();
    this.remember();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tellCommand().catch(() => {}), COMMAND_DELAY);
  }

  place() {
    const [, layer, head] = /^layer (\d+), head (\d+)$/.exec(this.view.head);
    return { layer: Number(layer), head: Number(head) };
  }

  bounds() {
    const { view: { query, key, span }, queryLength, keyLength } = this.view;
    const of = (start, length) => [Math.floor(start), Math.min(Math.ceil(start + span), length)];
    const [[q0, q1], [k0, k1]] = [of(query, queryLength), of(key, keyLength)];
    return { ...this.place(), q0, q1, k0, k1 };
  }

  ids() {
    return this.shown.map(({ id }) => id);
  }

  async writeCommand() {
    const { command } = await this.together("view_command", this.bounds());
    byId("map-command").textContent = command;
  }

  /** A call about all analyses that are shown. */
  async together(name, given) {
    try {
      return await call(name, { ids: this.ids(), ...given });
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      await Promise.all(this.shown.map((one) => one.call("open_map", this.place()))); // renews those that are gone
      return call(name, { ids: this.ids(), ...given });
    }
  }

  async savePage() {
    const { page } = await this.together("page", this.place());
    save(page, "attention-map.html", "text/html");
  }

  async saveCsv() {
    const { csv } = await this.shown[0].call("cells_csv", this.bounds());
    save(csv, "attention-map.csv", "text/csv");
  }

  async guarded(task) {
    try {
      await task();
    } catch (error) {
      this.setup.say(error.message, true);
    }
  }

  themed() {
    this.view?.switchTheme(this.theme());
  }
}

function nameOf({ layer, head }) {
  return `layer ${layer}, head ${head}`;
}
