// A panel: one map with its name, canvas and the weight under the cross.

/** The most cells along a side that are drawn. */
const MOST_CELLS = 512;

/** An element; `text` never becomes markup. */
function element(/** @type {string} */ tag, /** @type {Record<string, any>} */ options = {},
  /** @type {Node[]} */ ...children) {
  const made = document.createElement(tag);
  const { text, on, ...attributes } = options;
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  if (text !== undefined) made.textContent = text;
  for (const [name, handler] of Object.entries(on ?? {})) made.addEventListener(name, handler);
  made.append(...children);
  return made;
}

class Panel {
  /**
   * @param {string} name
   * @param {Source} source
   * @param {(panel: Panel) => Actions} actions
   * @param {() => void} changed  something new can be drawn
   */
  constructor(name, source, actions, changed) {
    this.name = name;
    this.source = source;
    this.changed = changed;
    this.canvas = /** @type {HTMLCanvasElement} */ (element("canvas", {
      class: "fa-canvas", tabindex: 0, role: "application",
      "aria-roledescription": "attention map",
      "aria-label": `Attention map of ${name}. Plus and minus zoom, arrows move, Home shows all, `
        + "Shift with arrows moves the cross, Enter pins its query, Escape lets go.",
    }));
    this.readout = element("output", { class: "fa-weight", "data-weight": "", text: " " });
    this.rough = element("span", { class: "fa-rough", role: "status", hidden: "" });
    this.root = element("figure", { class: "fa-panel" },
      element("figcaption", { class: "fa-caption" },
        element("span", { class: "fa-name", title: name, text: name }, this.rough), this.readout),
      this.canvas);
    this.plot = new Plot(this.canvas);
    this.gestures = new Gestures(this.canvas, actions(this));
    /** What is said of a preview. */
    this.preview = "";
    /** Whether the whole map is on its way, in the place of a preview. */
    this.refining = false;
    /** @type {Tile | null} */
    this.overview = null;
    /** @type {Tile | null} */
    this.tile = null;
    /** What is to be loaded, and what was. @type {View | null} */
    this.wanted = null;
    /** @type {View | null} */
    this.last = null;
    this.busy = false;
    /** @type {{query: number, key: number} | null} */
    this.reading = null;
    /** @type {(region: Region) => (at: number) => number} */
    this.colouring = () => () => 0;
    this.controller = new AbortController();
  }

  get isDifference() {
    return this.source.meta.kind === "difference";
  }

  /**
   * Takes colours on, and paints the tiles it has anew.
   * @param {LogScale} shared @param {Look} look @param {Shading} shading @param {LogScale} range
   */
  colour(shared, look, shading, range) {
    const table = this.isDifference ? differenceColours(look.theme)
      : shadedColours(this.source.meta.scale, range, shading, wordOf(look.paper));
    const full = fullMass(shared);
    this.colouring = ({ codes, octaves, mass }) => {
      if (mass) return (at) => table[massStep(mass[at], full)];
      return octaves ? (at) => table[octaveStep(octaves[at])] : (at) => table[codes[at]];
    };
    if (this.overview) this.overview = this.tiled(this.overview.region);
    if (this.tile) this.tile = this.tiled(this.tile.region);
  }

  /** Whether its overview is a preview. */
  get isRough() {
    return !this.rough.hidden;
  }

  /** @param {Region} region */
  tiled(region) {
    return tileOf(region, this.source, this.colouring(region));
  }

  get cells() {
    return Math.max(16, Math.min(MOST_CELLS, this.plot.pixels));
  }

  /** Loads what a view shows; the newest wish wins, one at a time. @param {View} view */
  want(view) {
    this.wanted = view;
    if (this.busy) this.controller.abort();
    else this.load();
  }

  async load() {
    this.busy = true;
    try {
      if (!this.overview) await this.loadOverview();
      else if (this.isRough && !this.refining) this.refine(); // it could not be loaded before
      while (this.wanted) {
        const view = this.wanted;
        this.wanted = null;
        this.last = view;
        this.controller = new AbortController();
        if (this.isAwaited(view)) this.tile = null;
        else await this.loadView(view);
      }
      this.canvas.classList.remove("fa-failed");
    } catch (error) {
      this.wanted = null;
      this.fail(error);
    } finally {
      this.busy = false;
      this.changed();
    }
  }

  async loadOverview() {
    const preview = await this.source.preview?.(this.cells);
    if (!preview) {
      await this.loadWhole();
      return;
    }
    const { of, cell } = preview;
    this.preview = ` – preview: ${of} of every ${cell} rows`;
    this.rough.hidden = false;
    this.overview = this.tiled(preview);
    this.changed();
    this.refine(); // not awaited: closer views need not wait for it
  }

  async loadWhole() {
    const { queryLength, keyLength } = this.source.meta;
    const region = await this.source.region(0, queryLength, 0, keyLength, this.cells);
    if (!region) return;
    this.overview = this.tiled(region);
    this.changed();
  }

  /** Puts the whole map in the place of its preview, and then what views could not be shown. */
  async refine() {
    this.refining = true;
    this.rough.textContent = `${this.preview}, the rest is on its way`;
    try {
      await this.loadWhole();
    } catch (error) {
      this.rough.textContent = `${this.preview}; the rest could not be loaded`;
      this.fail(error);
      return;
    } finally {
      this.refining = false;
    }
    this.rough.textContent = "";
    this.rough.hidden = true;
    if (this.last) this.want(this.last);
  }

  /** Whether a view shows cells that only the whole map has, which is not there yet. @param {View} view */
  isAwaited({ span }) {
    return this.isRough && cellFor(span, this.cells) >= (this.source.meta.base ?? 1);
  }

  /** @param {unknown} error */
  fail(error) {
    this.canvas.classList.add("fa-failed");
    this.readout.textContent = "this view could not be loaded";
    console.warn("freeatten: a region could not be loaded:", error);
  }

  /** @param {View} view */
  async loadView(view) {
    const { queryLength, keyLength } = this.source.meta;
    const q0 = Math.min(Math.floor(view.query), queryLength);
    const k0 = Math.min(Math.floor(view.key), keyLength);
    const q1 = Math.min(Math.ceil(view.query + view.span), queryLength);
    const k1 = Math.min(Math.ceil(view.key + view.span), keyLength);
    if (q1 <= q0 || k1 <= k0) return;
    const signal = this.controller.signal;
    const region = await this.source.region(q0, q1, k0, k1, this.cells, signal);
    if (!region) return;
    this.tile = this.tiled(region);
    this.read(this.reading); // what a cell stands for is another now
    this.changed();
  }

  /** @param {Omit<Scene, "tiles" | "meta" | "last">} scene */
  paint(scene) {
    const tiles = /** @type {Tile[]} */ ([this.overview, this.tile].filter(Boolean));
    const { meta } = this.source;
    this.plot.paint({ ...scene, tiles, meta, last: (query) => this.source.last(query) });
  }

  /** The colour shown at a token: its cell's pooled value. @param {number} query @param {number} key */
  cellAt(query, key) {
    const tile = this.tile ?? this.overview;
    if (!tile) return null;
    const row = Math.floor((query - tile.query_start) / tile.cell);
    const column = Math.floor((key - tile.key_start) / tile.cell);
    if (row < 0 || column < 0 || row >= tile.rows || column >= tile.columns) return null;
    return { tile, at: row * tile.columns + column };
  }

  /** Writes the weight under the cross. @param {{query: number, key: number} | null} cross */
  async read(cross) {
    this.reading = cross;
    if (!cross) {
      this.show("", this.emptyText());
      return;
    }
    const [value, text] = await this.worded(cross);
    if (this.reading === cross) this.show(value, text);
  }

  /** What a view of one colour is, if nothing in it is large enough for another. */
  emptyText() {
    if (!this.tile || !this.last || this.isDifference || codesInView(this.tile, this.last).high) return "";
    return `all in view: 0, or below ${number(Number((2 ** this.source.meta.scale.floor).toPrecision(1)))}`;
  }

  /** @param {string} value @param {string} text */
  show(value, text) {
    this.readout.dataset.weight = value;
    this.readout.textContent = text || " ";
    this.readout.title = text;
  }

  /** @returns {Promise<[string, string]>} the weight, and how it is shown */
  async worded(/** @type {{query: number, key: number}} */ { query, key }) {
    if (this.source instanceof DifferenceSource) return this.wordedPair(query, key);
    const weight = await this.source.weight(query, key);
    return [String(weight.value), `${weightText(weight)}${this.pooledText(query, key, weight)}`];
  }

  /** @returns {Promise<[string, string]>} */
  async wordedPair(/** @type {number} */ query, /** @type {number} */ key) {
    const source = /** @type {DifferenceSource} */ (this.source);
    const [first, second] = await source.pair(query, key);
    if (first.kind === "hidden") return ["", "not visible"];
    const value = first.value - second.value;
    const said = source.measure === "mass" ? [number(Number(value.toPrecision(3)))] : [];
    return [String(value), [...said, `${weightText(first)} against ${weightText(second)}`].join(": ")];
  }

  /** What a cell of several tokens stands for. */
  pooledText(/** @type {number} */ query, /** @type {number} */ key, /** @type {Weight} */ weight) {
    const place = this.cellAt(query, key);
    const isRough = this.isRough && place?.tile === this.overview;
    if (!place || isRough || place.tile.cell === 1 || weight.kind === "hidden") return "";
    const { cell, region } = place.tile;
    const code = region.codes[place.at];
    const pooled = code ? number(Number((2 ** decodedLog2(code, this.source.meta.scale)).toPrecision(2))) : "~0";
    return ` · ${this.source.meta.pool} of ${cell}×${cell}: ${pooled}`;
  }
}
