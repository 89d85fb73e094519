// Beside the maps, where there is room: the text, and the strongest sources of the query.

/** @typedef {{loss: Float32Array, delta: Float32Array}} Losses  nats; position i is of token i + 1 */

/** @typedef {"closed"|"row"|"loss"|"delta"} Tinted  whether the text is there, and by what it is tinted */

/** @type {Tinted[]} */
const TINTS = ["closed", "row", "loss", "delta"];
const LOSSES = "losses";
const MOST_LOSS = 10;
const MOST_DELTA = 5;
/** Tokens that are listed. */
const WORST = 12;

/** Pixels of the drawer, at least, that are seen when it is opened; on a phone it is below the maps. */
const SEEN = 80;

class Drawer {
  /** @param {MapView} map @param {boolean} isOpen */
  constructor(map, isOpen) {
    this.map = map;
    /** @type {SourcesList[]} */
    this.lists = [];
    /** @type {Panel[]} */
    this.panels = [];
    this.title = element("h2", { class: "fa-side-title" });
    this.holder = element("div", { class: "fa-lists" });
    this.text = map.tokens && new TextPane(map.tokens, {
      point: (key) => map.point({ query: map.reader(), key }),
      pick: (query) => map.pinned(query),
    });
    this.worst = element("div", { class: "fa-lists", hidden: "" });
    this.tintChoice = selectBox("Tint", [["row", "what the query reads"], ["loss", "loss"], ["delta", "Δ: what far context costs"]],
      (kind) => this.tintBy(kind));
    if (this.text && map.options.losses) this.text.root.prepend(this.tintChoice.label);
    this.root = element("aside", { class: "fa-side", "aria-label": "text and strongest sources" },
      this.title, ...(this.text ? [this.text.root] : []), this.worst, this.holder);
    this.button = toolButton(this.text ? "Text" : "Sources", "the text and the strongest sources of the query", () => this.toggle());
    /** @type {Tinted} */
    this.usual = isOpen ? "row" : "closed";
    this.toggle(isOpen);
  }

  /** What a link says of it; null for what the page begins with. @returns {Tinted | null} */
  get linked() {
    const shown = /** @type {Tinted} */ (this.root.hidden ? "closed" : this.tintChoice.control.value);
    return shown === this.usual ? null : shown;
  }

  /** Shows what a link says. @param {Tinted | null} tint */
  restore(tint) {
    const wanted = tint ?? this.usual;
    const isOpen = wanted !== "closed";
    if (isOpen === this.root.hidden) this.toggle(isOpen);
    const kind = this.map.options.losses && isOpen ? wanted : "row";
    if (kind === this.tintChoice.control.value) return;
    this.tintChoice.control.value = kind;
    this.tintBy(kind);
  }

  toggle(isOpen = this.root.hidden) {
    this.root.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
    this.map.root.dataset.drawer = isOpen ? "open" : "closed";
    if (!this.map.panels.length) return;
    this.map.resized();
    this.map.crossed();
    const isBelow = this.root.getBoundingClientRect().top > window.innerHeight - SEEN;
    if (isOpen && isBelow) this.root.scrollIntoView({ block: "start" });
    this.map.report();
  }

  /** Takes the maps of a head, one weight map each. @param {Panel[]} panels */
  take(panels) {
    this.panels = panels;
    if (this.tinted !== LOSSES) this.tinted = "";
    this.lists = panels.map((panel) => new SourcesList(panel,
      (key) => this.map.jump(this.map.reader(), key), (key) => this.map.token(key)));
    this.holder.replaceChildren(...this.lists.map((list) => list.root));
  }

  fit() {
    this.text?.fit();
  }

  /** Shows a query's sources, and a cross in the text. */
  show(/** @type {number} */ query, /** @type {number | null} */ key, /** @type {boolean} */ isPinned) {
    for (const list of this.lists) list.show(query);
    this.title.replaceChildren(
      element("span", { text: "Query " }),
      element("bdi", { class: "fa-token", text: this.map.token(query) }),
      element("span", { class: "fa-position", text: ` at ${count(query)}${isPinned ? ", pinned" : ""}` }));
    if (!this.text || this.root.hidden) return;
    this.text.mark(query, key);
    this.tint(query, isPinned);
  }

  /** Tints the text by the row of a query in every map. @param {number} query @param {boolean} isPinned */
  async tint(query, isPinned) {
    const key = [query, ...this.panels.map(({ name }) => name), this.map.head].join();
    if (!this.text || this.tinted === key || this.tinted === LOSSES) return;
    this.tinted = key;
    const rows = await Promise.all(this.panels.map(({ source }) => source.rowOf?.(query)));
    if (this.tinted !== key) return;
    const tints = rows.flatMap((weights, at) =>
      (weights ? [{ name: this.panels[at].name, shares: rowShares(weights) }] : []));
    const said = `Read by the query at ${count(query)}, as a share of the most that it reads:`;
    this.text.tint(tints, said, isPinned ? query : null);
  }

  // Losses in the text

  /** What the text is tinted by. @param {string} kind */
  async tintBy(kind) {
    const isOfLosses = kind === "loss" || kind === "delta";
    this.holder.hidden = isOfLosses;
    this.worst.hidden = !isOfLosses;
    this.tinted = isOfLosses ? LOSSES : "";
    this.map.report();
    if (!isOfLosses || !this.text) {
      this.map.crossed();
      return;
    }
    try {
      const { text } = this;
      const tell = (/** @type {number} */ share) => {
        if (this.tintChoice.control.value === kind) text.tint([], `Every token is being scored: ${Math.round(100 * share)} %`);
      };
      tell(0);
      const found = await this.map.options.losses?.(tell) ?? [];
      if (this.tintChoice.control.value === kind) this.showLosses(found, kind);
    } catch (error) {
      this.text.tint([], `The losses could not be had: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** @param {Losses[]} found @param {"loss" | "delta"} kind */
  showLosses(found, kind) {
    const most = kind === "loss" ? MOST_LOSS : MOST_DELTA;
    const tints = found.map((one, at) => ({
      name: this.panels[at].name,
      // the first token is predicted by none
      shares: Float32Array.from([0, ...one[kind]], (value) => Math.min(Math.max(value / most, 0), 1)),
    }));
    this.text?.tint(tints, kind === "loss" ? `Loss of every token, full at ${MOST_LOSS} nats:`
      : `By how much the context beyond training raises its loss, full at ${MOST_DELTA} nats:`);
    this.worst.replaceChildren(...found.map((one, at) => this.worstOf(this.panels[at], one[kind])));
  }

  /** Opens the row that predicted a token: where it reads most in a map, in the text, and with its sources. */
  async open(/** @type {number} */ row, /** @type {Panel} */ panel) {
    const [first] = await panel.source.strongest?.(row, 1) ?? [];
    this.holder.hidden = false;
    this.map.pinned(row);
    this.map.jump(row, first?.key ?? row);
    this.text?.reveal(row);
  }

  /** The tokens with the largest values, each a button to the row that made it. */
  worstOf(/** @type {Panel} */ panel, /** @type {Float32Array} */ values) {
    const rows = largest(values, WORST).map(({ key: row, value }) => {
      const token = this.map.token(row + 1);
      const button = element("button", {
        type: "button", class: "fa-source",
        "aria-label": `token ${count(row + 1)} ${token}, ${number(value)} nats: open the row that predicted it`,
        on: { click: () => this.open(row, panel) },
      }, element("bdi", { class: "fa-token", text: token }),
      element("span", { class: "fa-position", text: count(row + 1) }),
      element("span", { class: "fa-value", text: number(Number(value.toPrecision(3))) }));
      button.style.setProperty("--fa-length", "0%");
      return element("li", {}, button);
    });
    return element("section", { class: "fa-sources-of" }, element("h3", { text: `${panel.name}: worst tokens` }),
      element("ol", { class: "fa-sources" }, ...rows));
  }
}
