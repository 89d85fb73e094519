// Keys: the view and the cross without a pointer.

/** How far an arrow moves, in views. */
const ARROW_STEP = 0.125;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

class Keys {
  /** @param {MapView} map */
  constructor(map) {
    this.map = map;
  }

  /** @param {string} key @param {boolean} shift @returns {boolean} whether the key meant something */
  press(key, shift) {
    const { map } = this;
    const arrow = ARROWS[key];
    if (arrow && shift) this.step(arrow);
    else if (arrow) {
      const far = map.view.span * ARROW_STEP;
      map.look(panned(map.view, arrow[0] * far, arrow[1] * far, map.extent));
    } else if (key === "+" || key === "=") map.zoom(ZOOM_STEP, kept(map.view, map.cross));
    else if (key === "-" || key === "−" || key === "_") map.zoom(1 / ZOOM_STEP, kept(map.view, map.cross));
    else if (key === "Home") map.whole();
    else if (key === "Enter") map.pick(map.cross);
    else if (key === "Escape") map.letGo();
    else return false;
    return true;
  }

  /** Moves the cross by one drawn cell. @param {[number, number]} arrow */
  step([down, right]) {
    const { map } = this;
    const cell = Math.max(1, Math.round(map.view.span / 64));
    const from = map.cross ?? middle(map.view);
    const within = (/** @type {number} */ value, /** @type {number} */ length) =>
      Math.min(Math.max(Math.floor(value), 0), length - 1);
    map.cross = {
      query: within(from.query + down * cell, map.queryLength),
      key: within(from.key + right * cell, map.keyLength),
    };
    this.follow(map.cross);
    map.crossed();
    this.announce();
  }

  /** Moves the view when the cross has left it. @param {{query: number, key: number}} cross */
  follow({ query, key }) {
    const { map } = this;
    const isOut = (/** @type {number} */ at, /** @type {number} */ start) =>
      at < start || at + 1 > start + map.view.span;
    if (isOut(query, map.view.query) || isOut(key, map.view.key)) {
      map.look(centred(map.view, query, key, map.extent));
    }
  }

  /** Says the pair and its weights to those who hear the page. */
  async announce() {
    const { map } = this;
    const { cross } = map;
    if (!cross) return;
    const weights = await Promise.all(map.panels.map((panel) => panel.worded(cross)));
    if (cross !== map.cross) return;
    const said = map.panels.map((panel, at) => `${panel.name}: ${weights[at][1]}`);
    map.live.textContent = `${map.where.textContent}. ${said.join("; ")}`;
  }
}
