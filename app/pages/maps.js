// The tab Map: the component over the server's functions.

const KEPT_ROWS = 64;
const COMMAND_DELAY = 300;
const MOVE_DELAY = 150;
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

  firstSeen(query) {
    return Math.max(0, query + 1 - (this.meta.window ?? Infinity));
  }

  async region(q0, q1, k0, k1, cells) {
    const found = await this.analysis.call("region", { ...this.place, q0, q1, k0, k1, cells });
    return { ...found, codes: bytesOf(found.codes), weights: null };
  }

  /** The whole map from a few rows of every cell, while the server makes it of all; else null. */
  async preview(cells) {
    const found = await this.analysis.call("preview", { ...this.place, cells });
    return found.of ? { ...found, codes: bytesOf(found.codes), weights: null } : null;
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
    if (key > query || key < this.firstSeen(query)) return { value: 0, kind: "hidden" };
    const row = await this.row(query);
    if (!row) return { value: 0, kind: "hidden" };
    const value = row.weights[key];
    return { value, kind: value === 0 && row.zeros ? "zero" : "weight", least: LEAST };
  }

  async rowOf(query) {
    return (await this.row(query))?.weights ?? null;
  }

  async strongest(query, count) {
    const weights = await this.rowOf(query);
    return weights ? freeatten.largest(weights, count) : [];
  }
}

class MapTab {
  constructor(setup, statistics, theme, remember) {
    Object.assign(this, { setup, statistics, theme, remember });
    this.view = null;
    this.shown = [];
    this.pictures = [];
    /** The search for heads that is on its way. */
    this.looking = null;
    byId("sort").append(make("option", { value: "" }, "layer and head"), ...statistics.map(({ id, label }) =>
      make("option", { value: id }, label)));
    for (const id of ["sort", "sort-model", "lowest"]) byId(id).addEventListener("change", () => { this.fillHeads(); this.changed(); });
    byId("find-heads").addEventListener("click", () => (this.looking ? this.looking.cancel() : this.guarded(() => this.find())));
    byId("save-page").addEventListener("click", () => this.guarded(() => this.savePage()));
    byId("save-csv").addEventListener("click", () => this.guarded(() => this.saveCsv()));
    this.tellCommand = newest(() => this.writeCommand());
  }

  async show(parts) {
    const analyses = this.setup.analyses;
    byId("map-shown").hidden = false;
    if (this.shown !== analyses) await this.open(analyses, parts);
    else if (this.view && parts.toString() !== this.view.state()) await this.again(parts);
    this.view.resized();
    byId("map-about").textContent = this.setup.about();
  }

  async again(parts) {
    if (parts.has("sort")) this.restoreOrder(parts);
    this.fillHeads();
    await this.view.restore(parts.toString());
  }

  async open(analyses, parts) {
    const [first] = analyses;
    this.setup.say("Making the maps");
    const { tokens } = await first.call("tokens");
    this.tables = await Promise.all(analyses.map((one) => one.call("heads")));
    const [layer, head] = farthest(this.tables[0].heads);
    const isThere = this.tables[0].heads.some((one) => nameOf(one) === parts.get("head"));
    if (!isThere) parts.set("head", nameOf({ layer, head }));
    this.view?.destroy();
    this.shown = analyses;
    this.scored = null;
    byId("found").replaceChildren();
    this.pictures = [];
    this.fillModels(analyses);
    this.restoreOrder(parts);
    const root = make("div");
    byId("maps").replaceChildren(root);
    this.view = new freeatten.MapView(root, {
      maps: this.entries(analyses), tokens, state: parts.toString(), theme: this.theme(),
      losses: (tell) => this.losses(analyses, tell), isFolded: true, title: `${analyses.map((one) => one.variant).join(", ")}`, onState: () => this.moved(),
      caption: () => [this.setup.about(), `Made by ${byId("map-command").textContent}`],
    });
    freeatten.page = this.view;
    this.fillHeads();
    await this.view.ready;
    this.setup.say("");
    this.changed();
    this.guarded(() => this.loadPictures(analyses)); // not awaited: the maps come first
  }

  /** Heads that changed beyond training, sinks, and those that read what came before or is copied. */
  async find() {
    const analyses = this.shown;
    const looking = new Asked();
    this.looking = looking;
    this.setup.say("Looking for heads");
    byId("find-heads").textContent = "Cancel";
    try {
      const found = await looking.until(Promise.all(analyses.map((one) =>
        one.work("start_finds", () => {}, (job) => looking.began(job)))));
      if (this.shown !== analyses) return;
      this.setup.say("");
      const kinds = [...new Set(found.flatMap(({ finds }) => finds.map(({ kind }) => kind)))];
      byId("found").replaceChildren(...kinds.flatMap((kind) => [make("b", {}, kind),
        ...found.flatMap(({ finds }, at) => finds.filter((one) => one.kind === kind).map((one) => this.foundButton(one, analyses[at])))]));
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
      this.setup.say("Cancelled.");
    } finally {
      this.looking = null;
      byId("find-heads").textContent = "Find for me";
    }
  }

  foundButton({ layer, head, sentence }, { variant }) {
    const name = nameOf({ layer, head });
    const button = make("button", { type: "button", class: "site-find" }, make("b", {}, `${variant}, ${name}`), ` ${sentence}`);
    button.addEventListener("click", () => this.guarded(() => this.showHead(name)));
    return button;
  }

  /** The loss of every token by every model, which is measured once. */
  losses(analyses, tell) {
    const shares = analyses.map(() => 0);
    const measured = async (one, at) => {
      const told = await one.work("start_losses", ({ share }) => {
        shares[at] = share;
        tell(mean(shares));
      });
      const of = (text) => new Float32Array(bytesOf(text).buffer);
      return { loss: of(told.loss), delta: of(told.delta) };
    };
    this.scored ??= Promise.all(analyses.map(measured)).catch((error) => {
      this.scored = null;
      throw error;
    });
    return this.scored;
  }

  /** Small pictures of all heads, a model at a time. */
  async loadPictures(analyses) {
    for (const one of analyses) {
      const found = await one.call("thumbnails");
      if (this.shown !== analyses) return;
      this.pictures.push(found);
      this.drawPictures();
    }
  }

  entries(analyses) {
    return this.tables[0].heads.flatMap(({ layer, head }) => analyses.map((one) => ({
      name: one.variant,
      head: nameOf({ layer, head }),
      load: async () => new ServerSource(one, layer, head, await one.call("open_map", { layer, head })),
    })));
  }

  restoreOrder(parts) {
    for (const [id, name] of [["sort", "sort"], ["sort-model", "of"]]) {
      if ([...byId(id).options].some(({ value }) => value === parts.get(name))) byId(id).value = parts.get(name);
    }
    byId("lowest").checked = parts.get("lowest") === "1";
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
    byId("lowest").parentElement.hidden = !key;
    const shown = key || "relative_entropy";
    const isByLayer = !key && this.shown.some(saysOfLayers);
    byId("heads").classList.toggle("site-grid", !key);
    byId("heads").classList.toggle("site-by-layer", isByLayer);
    byId("heads").style.setProperty("--heads", String(this.shown[0].heads));
    byId("heads").style.setProperty("--models", String(this.shown.length));
    const order = key ? sorted(this.tables[model].heads, key, byId("lowest").checked) : this.tables[model].heads;
    const { label, unit, meaning } = this.statistics.find(({ id }) => id === shown);
    this.note = `Every head with its mean ${label}${unit ? ` (${unit})` : ""}: ${meaning}`;
    byId("heads").replaceChildren(...(isByLayer
      ? this.shown[0].attention.map((layer) => this.layerRow(layer, order, shown)) : order.map((one) => this.headButton(one, shown))));
    this.markHead();
    this.reveal();
    this.drawPictures();
  }

  /** Scrolls the rail, and nothing else, to the head that is shown. */
  reveal() {
    const shown = byId("heads").querySelector("[aria-pressed='true']")?.getBoundingClientRect();
    if (!shown) return;
    for (const box of [byId("heads"), document.querySelector(".site-rail")]) {
      const { left, top, right, bottom } = box.getBoundingClientRect();
      if (shown.left < left || shown.right > right) box.scrollLeft += shown.left - left - 24;
      if (shown.top < top || shown.bottom > bottom) box.scrollTop += shown.top - top - 24;
    }
  }

  /** A layer with what is known of it: heads that share keys stand together, one not read is offered. */
  layerRow({ layer, heads, keys }, order, shown) {
    const shared = keys < heads ? `${heads} heads, ${keys} ${keys === 1 ? "key" : "keys"}` : `${heads} ${heads === 1 ? "head" : "heads"}`;
    const said = [`layer ${layer}`, shared, this.windowsOf(layer)].filter(Boolean).join(" · ");
    const own = order.filter((one) => one.layer === layer);
    if (!own.length) {
      const button = make("button", { type: "button", class: "site-layer site-unread", title: "read this layer" }, said);
      button.addEventListener("click", () => this.setup.readLayer(layer));
      return button;
    }
    const groups = keys < heads ? keys : 1;
    const group = (at) => make("div", { class: "site-group" }, ...own.filter(({ head }) => Math.floor((head * groups) / heads) === at)
      .map((one) => this.headButton(one, shown)));
    return make("div", { class: "site-layer", role: "group", "aria-label": said }, make("span", {}, said),
      make("div", { class: "site-groups" }, ...Array.from({ length: groups }, (_, at) => group(at))));
  }

  /** The windows of a layer; of which model, where they differ. */
  windowsOf(layer) {
    const windows = this.shown.map(({ attention }) => attention.find((one) => one.layer === layer)?.window ?? null);
    const told = (window) => `window ${window.toLocaleString("en")}`;
    if (new Set(windows).size === 1) return windows[0] === null ? "" : told(windows[0]);
    return windows.flatMap((window, at) => (window === null ? [] : [`${told(window)} (${this.shown[at].variant})`])).join(", ");
  }

  headButton({ layer, head }, key) {
    const name = nameOf({ layer, head });
    const values = this.tables.map(({ heads }) => heads.find((one) => one.layer === layer && one.head === head)?.values[key]);
    const said = values.map((value, at) => `${this.shown[at].variant} ${short(value)}`).join(", ");
    const lines = values.map((value, at) => make("span", { class: "site-head-value" },
      make("span", {}, ...breakable(this.shown[at].variant)), ` ${short(value)}`));
    const pictures = make("span", { class: "site-head-maps", "aria-hidden": "true" },
      ...this.shown.map(({ variant }) => make("canvas", { title: variant })));
    const button = make("button", {
      type: "button", class: "site-head", "data-head": name, "data-short": `${layer}.${head}`, "aria-label": `${name}: ${said}`, title: `${name}: ${said}`,
    },
      make("b", {}, name), pictures, ...lines);
    button.addEventListener("click", () => this.guarded(() => this.showHead(name)));
    return button;
  }

  /** A map takes seconds to make at 32k tokens: what was clicked shows at once. */
  async showHead(name) {
    const shown = this.view.show(name, this.view.difference);
    this.markHead();
    this.setup.say(`Making the maps of ${name}`);
    await shown;
    if (this.view.head !== name) return; // another was clicked meanwhile
    this.setup.say("");
    this.changed();
  }

  drawPictures() {
    const [first] = this.pictures;
    const pooled = first && first.rows > 1 ? ` A cell is the largest weight in the last ${first.rows} of its rows.` : "";
    byId("heads-note").textContent = `${this.note}.${first ? ` Pictures: ${first.side} × ${first.side} cells, the colours of the maps.${pooled}` : ""}`;
    if (!first) return;
    const shared = freeatten.sharedScale(this.pictures.map(({ scale }) => scale));
    for (const button of byId("heads").querySelectorAll(".site-head")) {
      const canvases = button.querySelectorAll("canvas");
      this.pictures.forEach(({ heads, side, scale }, at) => {
        const { codes, reach } = heads.find((one) => nameOf(one) === button.dataset.head);
        freeatten.thumbnail(canvases[at], { codes, side, scale, reach }, shared);
      });
    }
  }

  markHead() {
    for (const button of byId("heads").querySelectorAll(".site-head")) {
      button.setAttribute("aria-pressed", String(button.dataset.head === this.view?.head));
    }
  }

  // State, downloads

  state() {
    const parts = new URLSearchParams(this.view?.state() ?? "");
    if (!byId("sort").value) return parts;
    parts.set("sort", byId("sort").value);
    if (byId("sort-model").value > 0) parts.set("of", byId("sort-model").value);
    if (byId("lowest").checked) parts.set("lowest", "1");
    return parts;
  }

  /** Whatever a link can say of the tab, as it is shown. */
  values() {
    const { head, pin, view: { query, key, span } } = this.view;
    const said = new URLSearchParams(this.view.state());
    return {
      head, q: query, k: key, span, pin: pin ?? "none", diff: said.get("diff") ?? "", colour: said.get("colour") ?? "all-log",
      tint: said.get("tint") ?? "closed", sort: byId("sort").value, of: Number(byId("sort-model").value), lowest: Number(byId("lowest").checked),
    };
  }

  /**
   * While a view moves the address waits: Chromium takes no more than 200 in ten seconds. A link
   * that was followed meanwhile goes before it.
   */
  moved() {
    clearTimeout(this.moving);
    const { hash } = location;
    this.moving = setTimeout(() => { if (hash === location.hash) this.changed(); }, MOVE_DELAY);
  }

  changed() {
    clearTimeout(this.moving);
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
  together(name, given) {
    const renew = () => Promise.all(this.shown.map((one) => one.call("open_map", this.place())));
    return renewing(() => call(name, { ids: this.ids(), ...given }), renew);
  }

  async savePage() {
    const { page } = await this.together("page", { ...this.place(), state: this.view.state() });
    save(page, "attention-map.html", "text/html");
  }

  async saveCsv() {
    const [{ lines }, { command }] = await Promise.all([
      this.together("cells", this.bounds()), this.together("view_command", this.bounds())]);
    const { layer, head } = this.place();
    const values = lines.map(([model, ...rest]) => [model, layer, head, ...rest]);
    const header = ["model", "layer", "head", "query", "query_token", "key", "key_token", "cell", "weight"];
    const caption = [this.setup.about(), this.view.region(), "cell: tokens a side, the weight is the largest in it; tokens are the first of a cell",
      `Made by ${command}`];
    saveValues("attention-map", caption, [header, ...values]);
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

/** A variant's name that takes a new line before its modifiers. */
function breakable(name) {
  return name.split(/(?=\+)|(?<=:)/).flatMap((part) => [part, make("wbr")]);
}

/** Layer and head of the one that reads farthest back: a map worth a first look. */
function farthest(heads) {
  const [{ layer, head }] = sorted(heads, "mean_distance", false);
  return [layer, head];
}

/** Heads by their mean of a statistic; those without one last. */
function sorted(heads, key, isLowestFirst) {
  const sign = isLowestFirst ? 1 : -1;
  const value = (one) => (one.values[key] === null ? Infinity : sign * one.values[key]);
  return [...heads].sort((a, b) => value(a) - value(b));
}

/** Whether there is more to say of a model's layers than their number. */
function saysOfLayers({ attention, layers }) {
  return attention.length > layers.length || attention.some(({ heads, keys, window }) => window !== null || keys < heads);
}

function nameOf({ layer, head }) {
  return `layer ${layer}, head ${head}`;
}
