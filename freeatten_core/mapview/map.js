// The component: panels with one view between them, a toolbar, and what is said about the cross.

/**
 * @typedef {object} MapEntry
 * @property {string} name  of the variant
 * @property {string} head  which head; maps of one head are shown together
 * @property {() => Promise<Source>} load  called once, when first shown
 *
 * @typedef {object} Options
 * @property {MapEntry[]} maps
 * @property {string} [title]
 * @property {string[] | null} [tokens]
 * @property {Pair | null} [difference]
 * @property {string} [state]  as `state()` gave it
 * @property {() => string[]} [caption]  what a saved picture says of the text, and the command
 * @property {(state: string) => void} [onState]
 * @property {(tell: (share: number) => void) => Promise<Losses[]>} [losses]  of every token, a map of a head each
 * @property {boolean} [isFolded]  whether text and sources are folded away at first
 * @property {"light" | "dark"} [theme]  the system's, and a button, without it
 */

const ZOOM_STEP = 0.5;
/** Pixels between two maps. */
const GAP = 18;
/** Pixels below which maps are not made narrower to stand side by side. */
const LEAST_WIDTH = 250;
/** Pixels that a map may take however low the window is. */
const LEAST_HEIGHT = 320;
/** Tokens in view after a jump to one source, at most. */
const JUMP_SPAN = 48;

class MapView {
  /** @param {HTMLElement} root @param {Options} options */
  constructor(root, options) {
    this.root = root;
    this.options = options;
    this.tokens = options.tokens ?? null;
    this.heads = [...new Set(options.maps.map((map) => map.head))];
    this.head = this.heads[0];
    this.difference = options.difference ?? null;
    /** @type {Map<MapEntry, Promise<Source>>} */
    this.loaded = new Map();
    /** @type {Panel[]} */
    this.panels = [];
    /** @type {{query: number, key: number} | null} */
    this.cross = null;
    /** @type {number | null} */
    this.pin = null;
    this.extent = 1;
    this.keyLength = 1;
    this.queryLength = 1;
    this.view = wholeView(1);
    /** @type {View | null} */
    this.asked = null;
    this.shared = { floor: -24, top: 0 };
    this.shading = PLAIN;
    /** The weights that have the first and the last colour. @type {LogScale} */
    this.range = this.shared;
    /** @type {(() => void) | null} */
    this.drawing = null;
    /** @type {(() => void) | null} */
    this.arranging = null;
    /** @type {(() => void)[]} */
    this.waiting = [];
    this.keys = new Keys(this);
    this.build();
    this.watch();
    this.ready = this.restore(options.state ?? "");
  }

  // What is on the page

  build() {
    this.root.classList.add("freeatten-map");
    if (this.options.theme) this.root.dataset.theme = this.options.theme;
    this.grid = element("div", { class: "fa-grid" });
    this.legend = element("div", { class: "fa-legend" });
    this.where = element("p", { class: "fa-where" });
    this.live = element("p", { class: "fa-unseen", role: "status", "aria-live": "polite" });
    this.shadingChoices = shadingChoices((shading) => this.shadeBy(shading));
    this.drawer = new Drawer(this, !this.options.isFolded);
    this.root.replaceChildren(this.toolbar(), this.where,
      element("div", { class: "fa-body" }, this.grid, this.drawer.root), this.live);
  }

  toolbar() {
    const about = () => kept(this.view, this.cross);
    const bar = element("div", { class: "fa-toolbar", role: "toolbar", "aria-label": "view" },
      toolButton("+", "zoom in", () => this.zoom(ZOOM_STEP, about())),
      toolButton("−", "zoom out", () => this.zoom(1 / ZOOM_STEP, about())),
      toolButton("Whole", "show the whole map (Home)", () => this.whole()));
    this.headChoice = selectBox("Head", this.heads.map((head) => [head, head]),
      (value) => this.show(value, this.difference));
    if (this.heads.length > 1) bar.append(this.headChoice.label);
    this.differenceChoice = selectBox("Difference", [["", "none"]], (value) =>
      this.show(this.head, pairOf(value)));
    bar.append(this.differenceChoice.label, element("span", { class: "fa-gap" }), this.drawer.button,
      toolButton("PNG", "save this view as a picture", () => this.savePicture("png")),
      toolButton("SVG", "save this view as SVG", () => this.savePicture("svg")));
    if (!this.options.theme) bar.append(toolButton("◐", "switch light and dark", () => this.switchTheme()));
    return bar;
  }

  watch() {
    // in a frame of its own: maps are as high as what is above them leaves room for
    this.sizes = new ResizeObserver(() => {
      this.arranging ??= nextFrame(() => {
        this.arranging = null;
        this.resized();
      });
    });
    for (const one of [this.grid, document.body]) this.sizes.observe(one);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onTheme = () => this.recolour();
    this.dark.addEventListener("change", this.onTheme);
  }

  /** Stops watching; for pages that take the component off again. */
  destroy() {
    this.sizes?.disconnect();
    this.arranging?.();
    this.dark?.removeEventListener("change", this.onTheme);
    this.drawing?.();
    this.root.replaceChildren();
  }

  // Which maps

  /** @param {MapEntry} entry */
  source(entry) {
    const known = this.loaded.get(entry) ?? entry.load();
    this.loaded.set(entry, known);
    return known;
  }

  entries(head = this.head) {
    return this.options.maps.filter((map) => map.head === head);
  }

  /** Shows the maps of one head. @param {string} head @param {Pair | null} pair */
  async show(head, pair) {
    this.head = head;
    this.difference = pair;
    this.root.dataset.settled = "false";
    const entries = this.entries();
    const sources = await Promise.all(entries.map((entry) => this.source(entry)));
    if (head !== this.head || pair !== this.difference) return; // another was chosen meanwhile
    const isPair = pair && pair.first !== pair.second && Math.max(pair.first, pair.second) < sources.length;
    this.difference = isPair ? pair : null;
    const shown = entries.map((entry, at) => this.panel(entry.name, sources[at]));
    this.drawer.take([...shown]);
    if (this.difference) shown.push(this.differencePanel(entries, sources, this.difference));
    this.panels = shown;
    this.measure(sources);
    this.grid.replaceChildren(...shown.map((panel) => panel.root), this.legend);
    this.root.dataset.panels = String(shown.length);
    this.fillChoices(entries);
    this.resized();
    this.recolour();
    this.moved();
    this.crossed();
  }

  /** @param {Source[]} sources */
  measure(sources) {
    this.keyLength = Math.max(...sources.map((source) => source.meta.keyLength));
    this.queryLength = Math.max(...sources.map((source) => source.meta.queryLength));
    const before = this.extent;
    this.extent = Math.max(this.keyLength, this.queryLength);
    this.shared = sharedScale(sources.map((source) => source.meta.scale));
    if (before === 1) this.view = wholeView(this.extent);
    this.view = clamped(this.view, this.extent);
  }

  /** @param {string} name @param {Source} source */
  panel(name, source) {
    return new Panel(name, source, (panel) => this.actions(panel), () => this.draw());
  }

  /** @param {MapEntry[]} entries @param {Source[]} sources @param {Pair} pair */
  differencePanel(entries, sources, { first, second, measure }) {
    const name = pairName(entries[first].name, entries[second].name, measure);
    const source = new DifferenceSource(sources[first], sources[second], measure);
    return this.panel(name, /** @type {any} */ (source));
  }

  /** @param {MapEntry[]} entries */
  fillChoices(entries) {
    /** @type {[string, string][]} */
    const pairs = [["", "none"]];
    entries.forEach((one, first) => entries.forEach((other, second) => {
      if (first >= second) return;
      for (const measure of MEASURES) pairs.push([pairText({ first, second, measure }), `${pairName(one.name, other.name, measure)} (${measure})`]);
    }));
    this.differenceChoice.fill(pairs, this.difference ? pairText(this.difference) : "");
    this.differenceChoice.label.hidden = pairs.length === 1;
    this.headChoice.control.value = this.head;
    this.fillLegend(entries);
  }

  /** @param {MapEntry[]} entries */
  fillLegend(entries) {
    const { meta } = this.panels[0].source;
    const isWindowed = this.panels.some(({ source }) => (source.firstSeen?.(meta.queryLength - 1) ?? 0) > 0);
    const { shading } = this;
    const parts = [colourBar(`weight, the same scale in every map (${shading.kind === "log" ? "logarithmic" : "linear"}${this.range === this.shared ? "" : ", of what is in view"})`,
      SEQUENTIAL, shadedTicks(shading, this.range))];
    if (this.difference) {
      const [first, second] = [this.difference.first, this.difference.second].map((at) => entries[at].name);
      const label = `${pairName(first, second, this.difference.measure)}: blue where ${second} is larger, orange where ${first} is`;
      parts.push(colourBar(label, DIVERGING[this.theme()], differenceTicks(this.difference.measure, this.shared)));
    }
    this.legend.replaceChildren(...parts, this.shadingChoices.root,
      element("div", { class: "fa-notes" }, ...legendNotes(meta, this.shared, isWindowed)));
  }

  // The view

  /** @param {Panel} panel @returns {Actions} */
  actions(panel) {
    const token = (/** @type {number} */ x, /** @type {number} */ y) => panel.plot.at(x, y, this.view);
    const scale = () => this.view.span / panel.plot.side;
    return {
      zoom: (factor, x, y) => {
        const isAtEnd = factor > 1 && isWhole(this.view, this.extent);
        this.zoom(factor, token(x, y));
        return !isAtEnd;
      },
      drag: (dx, dy) => this.look(panned(this.view, -dy * scale(), -dx * scale(), this.extent)),
      point: (x, y) => this.point(panel.plot.holds(x, y) ? token(x, y) : null),
      leave: () => this.point(null),
      pick: (x, y) => this.pick(panel.plot.holds(x, y) ? token(x, y) : null),
      press: (key, shift) => this.keys.press(key, shift),
    };
  }

  /** @param {number} factor @param {{query: number, key: number}} about */
  zoom(factor, about) {
    this.look(zoomed(this.view, factor, about, this.extent));
  }

  whole() {
    this.look(wholeView(this.extent));
  }

  /** Shows a view in every panel. @param {View} view */
  look(view) {
    this.view = clamped(view, this.extent);
    this.moved();
  }

  moved() {
    for (const panel of this.panels) {
      panel.want(this.view);
      // a whole map has nowhere to go: a finger on it scrolls the page
      panel.canvas.style.touchAction = isWhole(this.view, this.extent) ? "pan-y" : "none";
    }
    this.draw();
    this.report();
  }

  /** @param {number} query @param {number} key */
  jump(query, key) {
    const span = Math.min(this.view.span, JUMP_SPAN);
    this.cross = { query, key };
    this.look(centred({ ...this.view, span }, query, key, this.extent));
    this.crossed();
  }

  // The cross and the pin

  /** @param {{query: number, key: number} | null} place */
  point(place) {
    const cross = this.inside(place);
    if (cross?.query === this.cross?.query && cross?.key === this.cross?.key) return;
    this.cross = cross;
    this.crossed();
  }

  /** @param {{query: number, key: number} | null} place */
  inside(place) {
    if (!place) return null;
    const [query, key] = [Math.floor(place.query), Math.floor(place.key)];
    const isInside = query >= 0 && key >= 0 && query < this.queryLength && key < this.keyLength;
    return isInside ? { query, key } : null;
  }

  /** Pins the query of a place; pins none when it was pinned already. */
  pick(/** @type {{query: number, key: number} | null} */ place) {
    const cross = this.inside(place);
    if (!cross) return;
    this.cross = cross;
    this.pin = this.pin === cross.query ? null : cross.query;
    this.crossed();
    this.report();
  }

  /** Pins a query, and shows its row. @param {number} query */
  pinned(query) {
    this.pin = query;
    this.cross = { query, key: Math.min(this.cross?.key ?? query, query) };
    this.keys.follow(this.cross);
    this.crossed();
    this.report();
  }

  letGo() {
    this.pin = null;
    this.cross = null;
    this.crossed();
    this.report();
  }

  /** The query whose sources are listed. */
  reader() {
    if (this.pin !== null) return Math.min(this.pin, this.queryLength - 1);
    if (this.cross) this.latest = this.cross.query;
    return Math.min(this.latest ?? Infinity, this.queryLength - 1);
  }

  crossed() {
    const { cross } = this;
    for (const panel of this.panels) panel.read(cross);
    this.drawer.show(this.reader(), cross?.key ?? null, this.pin !== null);
    this.where.replaceChildren(...this.whereText());
    this.draw();
  }

  /** Which pair the cross is on. */
  whereText() {
    if (!this.cross) return [element("span", { class: "fa-hint", text:
      "Point for the exact weight, click to pin a query. Wheel, pinch, + − zoom; drag, arrows move." })];
    const { query, key } = this.cross;
    const part = (/** @type {string} */ name, /** @type {number} */ position) => [
      element("span", { text: `${name} ` }), element("bdi", { class: "fa-token", text: this.token(position) }),
      element("span", { class: "fa-position", text: ` at ${count(position)}` })];
    const away = this.keyLength - this.queryLength + query - key;
    const back = away > 0 ? `, ${count(away)} back` : away === 0 ? ", itself" : ", later";
    return [...part("query", query), element("span", { text: "  reads  " }), ...part("key", key),
      element("span", { class: "fa-position", text: back })];
  }

  /** @param {number} position */
  token(position) {
    const token = this.tokens?.[position];
    return token === undefined ? "–" : tokenText(token);
  }

  // Drawing

  resized() {
    this.drawer.fit();
    if (!this.panels.length || !this.arrange(this.panels.length)) return;
    for (const panel of this.panels) panel.want(this.view);
    this.paintAll();
  }

  /**
   * As many maps side by side as have room, none higher than the window below their top.
   * @param {number} many @returns {boolean} whether they have another size now
   */
  arrange(many) {
    const width = this.grid.clientWidth;
    const share = (/** @type {number} */ columns) => (width - GAP * (columns - 1)) / columns;
    let columns = many;
    while (columns > 1 && share(columns) < LEAST_WIDTH) columns -= 1;
    const top = this.panels[0].canvas.getBoundingClientRect().top + window.scrollY;
    const high = Math.max(window.innerHeight - top - GAP, LEAST_HEIGHT);
    const side = Math.max(Math.floor(Math.min(share(columns), widthOf(high))), 1);
    this.grid.style.gridTemplateColumns = `repeat(${columns}, ${side}px)`;
    const isNew = this.panels.some(({ plot }) => plot.width !== side || plot.ratio !== (window.devicePixelRatio || 1));
    for (const panel of this.panels) panel.plot.fit(side);
    return isNew;
  }

  recolour() {
    this.lookNow = this.readLook();
    this.range = this.rangeShown();
    for (const panel of this.panels) panel.colour(this.shared, this.lookNow, this.shading, this.range);
    if (this.panels.length) this.fillLegend(this.entries());
    this.draw();
  }

  /** @param {Shading} shading */
  shadeBy(shading) {
    this.shading = shading;
    this.shadingChoices.fill(shading);
    this.recolour();
    this.report();
  }

  /** Of what is in view if that was chosen, or if it would all be dark otherwise. @returns {LogScale} */
  rangeShown() {
    const seen = rangeInView(this.panels, this.view);
    return seen && (this.shading.range === "view" || isDark(this.shading, this.shared, seen)) ? seen : this.shared;
  }

  /** @returns {"light" | "dark"} */
  theme() {
    const chosen = this.root.dataset.theme;
    if (chosen === "light" || chosen === "dark") return chosen;
    return this.dark?.matches ? "dark" : "light";
  }

  /** @param {"light" | "dark"} [theme] the other one without it */
  switchTheme(theme = this.theme() === "dark" ? "light" : "dark") {
    this.root.dataset.theme = theme;
    if (document.documentElement.dataset.freeatten) document.documentElement.dataset.theme = theme;
    this.recolour();
  }

  /** @returns {Look} the colours of the style sheet, for the canvas */
  readLook() {
    const style = getComputedStyle(this.root);
    const of = (/** @type {string} */ name) => style.getPropertyValue(`--fa-${name}`).trim();
    return {
      theme: this.theme(), paper: of("paper"), text: of("text"), soft: of("soft"),
      line: of("line"), hidden: of("hidden"), hatch: of("hatch"), pin: of("pin"),
    };
  }

  /** Draws with the next frame. */
  draw() {
    this.root.dataset.settled = "false";
    this.drawing ??= nextFrame(() => this.paintAll());
  }

  paintAll() {
    this.drawing?.();
    this.drawing = null;
    const { view, tokens, cross, pin } = this;
    this.lookNow ??= this.readLook();
    for (const panel of this.panels) panel.paint({ view, tokens, cross, pin, look: this.lookNow });
    if (this.panels.some((panel) => panel.busy)) return;
    const { floor, top } = this.rangeShown();
    if (floor !== this.range.floor || top !== this.range.top) {
      this.recolour();
      return;
    }
    this.root.dataset.settled = "true";
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** When everything asked for is drawn. @returns {Promise<void>} */
  settled() {
    if (this.root.dataset.settled === "true") return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** @param {"png" | "svg"} kind */
  savePicture(kind) {
    const title = this.options.title ?? "Attention map";
    const caption = [...(this.options.caption?.() ?? []), this.region()];
    return picture(this.panels, title, caption, this, this.readLook()).save("attention-map", kind);
  }

  /** Which head and part of the matrix is shown, and what is pinned. */
  region() {
    const { view: { query, key, span }, pin } = this;
    const of = (/** @type {number} */ start, /** @type {number} */ length) =>
      `${count(Math.floor(start))} to ${count(Math.min(Math.ceil(start + span), length) - 1)}`;
    const parts = [this.head, `queries ${of(query, this.queryLength)}`, `keys ${of(key, this.keyLength)}`];
    if (pin !== null) parts.push(`query ${this.token(pin)} at ${count(pin)} is pinned`);
    return parts.filter(Boolean).join("; ");
  }

  // Links

  /** Which view, head, pin and difference are shown, as text for a link. */
  state() {
    const { pin, difference, shading, drawer } = this;
    const view = isWhole(this.view, this.extent) ? null : this.view;
    return linkText({ head: this.heads.length > 1 ? this.head : null, view, pin, difference, shading, tint: drawer.linked });
  }

  /** Shows what `state` wrote; what makes no sense in it is left out. @param {string} text */
  async restore(text) {
    const linked = readLink(text);
    const head = linked.head === null ? this.head : this.heads.find((name) => name === linked.head);
    await this.show(head ?? this.heads[0], linked.difference ?? (text ? null : this.difference));
    if (shadingText(linked.shading) !== shadingText(this.shading)) this.shadeBy(linked.shading);
    this.pin = linked.pin !== null && linked.pin < this.queryLength ? linked.pin : null;
    this.look(linked.view ?? wholeView(this.extent));
    this.crossed();
    this.drawer.restore(linked.tint);
    await this.settled();
  }

  report() {
    this.options.onState?.(this.state());
  }

  // For scripts

  /** The exact weight of a query and a key in the map with this number. */
  async weight(/** @type {number} */ map, /** @type {number} */ query, /** @type {number} */ key) {
    const source = await this.source(this.options.maps[map]);
    return (await source.weight(query, key)).value;
  }
}
