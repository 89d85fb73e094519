// Beside the maps, where there is room: the text, and the strongest sources of the query.

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
    this.root = element("aside", { class: "fa-side", "aria-label": "text and strongest sources" },
      this.title, ...(this.text ? [this.text.root] : []), this.holder);
    this.button = toolButton(this.text ? "Text" : "Sources", "the text and the strongest sources of the query", () => this.toggle());
    this.toggle(isOpen);
  }

  toggle(isOpen = this.root.hidden) {
    this.root.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", String(isOpen));
    this.map.root.dataset.drawer = isOpen ? "open" : "closed";
    if (!this.map.panels.length) return;
    this.map.resized();
    this.map.crossed();
  }

  /** Takes the maps of a head, one weight map each. @param {Panel[]} panels */
  take(panels) {
    this.panels = panels;
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
    if (!this.text || this.tinted === key) return;
    this.tinted = key;
    const rows = await Promise.all(this.panels.map(({ source }) => source.rowOf?.(query)));
    if (this.tinted !== key) return;
    const tints = rows.flatMap((weights, at) =>
      (weights ? [{ name: this.panels[at].name, shares: rowShares(weights) }] : []));
    this.text.tint(tints, `Read by the query at ${count(query)}, as a share of the most that it reads:`);
    if (isPinned) this.text.reveal(query);
  }
}
