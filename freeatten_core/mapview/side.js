// Beside the maps: the strongest sources of a query, and the legend of the colours.

const SOURCES_SHOWN = 10;

/** The strongest keys of one query in one map, each a button that goes there. */
class SourcesList {
  /**
   * @param {Panel} panel
   * @param {(key: number) => void} jump
   * @param {(key: number) => string} token
   */
  constructor(panel, jump, token) {
    this.panel = panel;
    this.jump = jump;
    this.token = token;
    this.list = element("ol", { class: "fa-sources" });
    this.root = element("section", { class: "fa-sources-of" },
      element("h3", { text: panel.name }), this.list);
    /** @type {number | null} */
    this.query = null;
  }

  /** @param {number} query */
  async show(query) {
    if (this.query === query || !this.panel.source.strongest) return;
    this.query = query;
    const found = await this.panel.source.strongest(query, SOURCES_SHOWN);
    if (this.query !== query) return;
    this.list.replaceChildren(...found.map((item) => this.row(item)));
  }

  /** @param {{key: number, value: number}} item */
  row({ key, value }) {
    const token = this.token(key);
    const button = element("button", {
      type: "button", class: "fa-source",
      "aria-label": `key ${count(key)} ${token}, weight ${number(value)}: go there`,
      on: { click: () => this.jump(key) },
    }, element("bdi", { class: "fa-token", text: token }),
    element("span", { class: "fa-position", text: count(key) }),
    element("span", { class: "fa-value", text: number(Number(value.toPrecision(3))) }));
    button.style.setProperty("--fa-length", `${Math.min(value, 1) * 100}%`);
    return element("li", {}, button);
  }
}

/** @param {string} label @param {Rgb[]} anchors @param {{at: number, text: string}[]} ticks */
function colourBar(label, anchors, ticks) {
  const stops = anchors.map((rgb, at) => `${css(rgb)} ${(at / (anchors.length - 1)) * 100}%`);
  const bar = element("div", { class: "fa-bar" });
  bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  const marks = ticks.map(({ at, text }) => {
    const tick = element("span", { class: "fa-tick", text });
    tick.style.left = `${at * 100}%`;
    tick.style.transform = `translateX(${at < 0.02 ? 0 : at > 0.98 ? -100 : -50}%)`;
    return tick;
  });
  return element("div", { class: "fa-legend-part", role: "img", "aria-label": label },
    element("div", { class: "fa-legend-title", text: label }), bar,
    element("div", { class: "fa-ticks" }, ...marks));
}

/** @param {LogScale} scale */
function weightTicks(scale) {
  const tens = Math.log10(2);
  const ticks = [];
  for (let power = Math.ceil(scale.floor * tens); power <= scale.top * tens; power += 1) {
    const at = (power / tens - scale.floor) / (scale.top - scale.floor);
    ticks.push({ at, text: power < -2 || power > 2 ? powerOfTen(power) : String(10 ** power) });
  }
  return ticks;
}

/** Ticks of a difference, either way. @param {Measure} measure @param {LogScale} scale */
function differenceTicks(measure, scale) {
  const full = fullMass(scale);
  const [half, ends] = measure === "mass" ? [full / 16, full].map(number)
    : [OCTAVES / 2, OCTAVES].map((octaves) => `${count(2 ** octaves)}×`);
  const texts = measure === "mass" ? [`−${ends}`, `−${half}`, "0", half, ends] : [ends, half, "equal", half, ends];
  const shares = measure === "mass" ? [0, 0.375, 0.5, 0.625, 1] : [0, 0.25, 0.5, 0.75, 1];
  return texts.map((text, at) => ({ at: shares[at], text }));
}

/** @param {Meta} meta @param {LogScale} scale @param {boolean} isWindowed */
function legendNotes({ pool, trainLength: trained }, scale, isWindowed) {
  const notes = [element("span", { class: "fa-note" },
    element("i", { class: "fa-swatch fa-swatch-hidden" }),
    element("span", { text: `not visible: a later token${isWindowed ? ", or one before the window" : ""}` }))];
  const low = element("i", { class: "fa-swatch" });
  low.style.background = css(SEQUENTIAL[0]);
  const floor = number(Number((2 ** scale.floor).toPrecision(1)));
  notes.push(element("span", { class: "fa-note" }, low,
    element("span", { text: `0, or below ${floor}: point at it to tell` })));
  if (trained) {
    notes.push(element("span", { class: "fa-note", text:
      `dashed: trained up to here (${count(trained)} tokens); left of the dots: farther back than in training` }));
  }
  notes.push(element("span", { class: "fa-note", text:
    `seen from afar, a cell shows the ${pool === "max" ? "largest" : "mean"} weight in it` }));
  return notes;
}
