// The story of the first screen: one text that is read farther and farther, from stored numbers.

const CURVE = { width: 320, height: 132, left: 40, right: 8, top: 8, bottom: 22 };

/** Stretches that a point of the loss is the mean of, at most: single ones are of other words each. */
const SMOOTHED = 8;

class Story {
  /** `changed` is called when a step was chosen, `linked` gives the address of a step's maps. */
  constructor(data, { changed, linked }) {
    Object.assign(this, { data, linked });
    byId("story-step").max = String(data.lengths.length - 1);
    byId("story-step").addEventListener("input", () => this.draw());
    byId("story-step").addEventListener("change", changed);
    byId("story-on").addEventListener("click", () => {
      byId("title").scrollIntoView();
      byId("title").focus({ preventScroll: true });
    });
    byId("story-legend").replaceChildren(...data.rows.map(({ label, color }) =>
      make("li", {}, swatch({ color, dash: "solid", sign: "" }), label)));
    byId("story-maps").replaceChildren(...data.rows.map(({ label, pictures: [{ where }] }) =>
      make("figure", {}, make("a", {},
        make("div", { class: "site-picture" }, make("canvas", { role: "img", "aria-label": `where a head of ${label} looks` }), make("i")),
        make("figcaption", {}, label, make("span", {}, where))))));
  }

  get at() {
    return Number(byId("story-step").value);
  }

  /** What a link has to say of it; nothing at the first step. */
  get state() {
    return this.at === 0 ? null : String(this.data.lengths[this.at]);
  }

  /** Shows the step of a link, or the first; whether there is one of that length. */
  show(length) {
    const at = length === null ? 0 : this.data.lengths.indexOf(Number(length));
    byId("story-step").value = String(Math.max(at, 0));
    this.draw();
    return at >= 0;
  }

  draw() {
    const { lengths, sentences, rows } = this.data;
    const length = lengths[this.at];
    byId("story-length").textContent = `${length.toLocaleString("en")} tokens`;
    byId("story-step").setAttribute("aria-valuetext", `${length.toLocaleString("en")} tokens`);
    byId("story-said").textContent = sentences[this.at];
    const link = this.linked(this.data.links[this.at]);
    byId("story-link").setAttribute("href", link);
    const scale = freeatten.sharedScale(rows.map(({ pictures }) => pictures[this.at].scale));
    [...byId("story-maps").children].forEach((figure, at) => {
      const picture = rows[at].pictures[this.at];
      freeatten.thumbnail(figure.querySelector("canvas"), picture, scale);
      figure.querySelector("a").setAttribute("href", link);
      figure.querySelector("i").style.top = `${picture.trained * 100}%`;
      figure.querySelector("i").hidden = picture.trained >= 1;
    });
    byId("story-curves").replaceChildren(
      this.curve("loss", `loss over the last ${(SMOOTHED * this.data.stretch).toLocaleString("en")} tokens, nats per token`, length, false),
      this.curve("effective", "tokens that the head effectively reads", length, true));
  }

  /** A curve of both models up to a length. */
  curve(name, title, length, isLog) {
    const { lengths, rows, stretch } = this.data;
    const value = (one) => (isLog ? Math.log10(Math.max(one, 1)) : one);
    const series = new Map(rows.map((row) => [row, isLog ? row[name] : smoothed(row[name])]));
    const all = rows.flatMap((row) => series.get(row).map(value));
    const [low, high] = [isLog ? 0 : Math.min(...all), Math.max(...all)];
    const x = (position) => CURVE.left + (position / lengths.at(-1)) * (CURVE.width - CURVE.left - CURVE.right);
    const y = (one) => CURVE.top + (1 - (one - low) / (high - low)) * (CURVE.height - CURVE.top - CURVE.bottom);
    const seen = length / stretch;
    const lines = rows.map((row) => make("polyline", {
      fill: "none", stroke: row.color, "stroke-width": "1.8",
      points: series.get(row).slice(0, seen).map((one, at) => `${x((at + 0.5) * stretch).toFixed(1)},${y(value(one)).toFixed(1)}`).join(" "),
    }));
    const ticks = (isLog ? [0, 1, 2, 3] : [Math.ceil(low), Math.floor(high)]).filter((one) => one <= high).map((one) =>
      make("text", { x: String(CURVE.left - 5), y: String(y(one) + 4), "text-anchor": "end" }, isLog ? String(10 ** one) : String(one)));
    const floor = String(CURVE.height - CURVE.bottom);
    const axis = make("line", { class: "site-axis", x1: String(CURVE.left), x2: String(CURVE.width - CURVE.right), y1: floor, y2: floor });
    const trained = make("line", { class: "site-axis", x1: String(x(lengths[0])), x2: String(x(lengths[0])), y1: String(CURVE.top), y2: floor, "stroke-dasharray": "4 3" });
    const ends = [[0, "start"], [lengths.at(-1), "end"]].map(([position, anchor]) =>
      make("text", { x: String(x(position)), y: String(CURVE.height - 6), "text-anchor": anchor }, position.toLocaleString("en")));
    return make("figure", {}, make("figcaption", {}, title),
      make("svg", { viewBox: `0 0 ${CURVE.width} ${CURVE.height}`, role: "img", "aria-label": `${title}, up to ${length.toLocaleString("en")} tokens` },
        axis, trained, ...ticks, ...ends, ...lines));
  }
}

/** The mean of each value and those before it. */
function smoothed(values) {
  return values.map((_, at) => {
    const part = values.slice(Math.max(0, at + 1 - SMOOTHED), at + 1);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}
