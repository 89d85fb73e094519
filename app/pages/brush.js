// A stretch of a curve, chosen by pointer or keyboard, and the way to it on the map.

/** Tokens of the shortest stretch. */
const SHORTEST = 8;

class Brush {
  /** `chart` is Plotly's, `linked` gives the address of a stretch, `changed` hears of a new one. */
  constructor(chart, { linked, changed }) {
    Object.assign(this, { chart, linked, changed });
    this.length = 0;
    for (const id of ["brush-from", "brush-to"]) {
      byId(id).addEventListener("input", () => this.set(...this.ends, id));
      byId(id).addEventListener("change", changed);
    }
    chart.addEventListener("pointerdown", (event) => this.begin(event));
  }

  /** First token and the one after the last. */
  get ends() {
    return ["brush-from", "brush-to"].map((id) => Number(byId(id).value));
  }

  /** What a link says of it; nothing of the whole text. */
  get state() {
    const [from, to] = this.ends;
    return this.length === 0 || (from === 0 && to === this.length) ? {} : { from, to };
  }

  /** Shows the stretch of a link in a text of so many tokens. */
  show(length, from, to) {
    this.length = length;
    for (const id of ["brush-from", "brush-to"]) byId(id).max = String(length);
    const [first, last] = [from, to].map((one) => (/^\d{1,7}$/.test(one ?? "") ? Number(one) : null));
    this.set(first ?? 0, last ?? length);
  }

  /** @param {string} kept the end that stays where the two meet */
  set(from, to, kept = "brush-from") {
    const least = Math.min(SHORTEST, this.length);
    const isFromKept = kept === "brush-from";
    const first = Math.max(0, Math.min(Math.round(from), this.length - least, isFromKept ? Infinity : Math.round(to) - least));
    const last = Math.min(this.length, Math.max(Math.round(to), first + least));
    for (const [id, value] of [["brush-from", first], ["brush-to", last]]) {
      byId(id).value = String(value);
      byId(`${id}-value`).textContent = value.toLocaleString("en");
    }
    byId("brush-go").textContent = `See tokens ${first.toLocaleString("en")} to ${last.toLocaleString("en")} on the map →`;
    byId("brush-go").setAttribute("href", this.linked(first, last));
    this.draw();
  }

  /** Where the chart has its positions: pixels from its left, and the positions at both ends. */
  get axis() {
    const { margin, xaxis } = this.chart.layout;
    return { left: margin.l, width: this.chart.clientWidth - margin.l - margin.r, range: xaxis.range };
  }

  draw() {
    const mark = byId("brush-mark");
    const [from, to] = this.ends;
    mark.hidden = !this.chart.layout?.xaxis?.range || !("from" in this.state);
    if (mark.hidden) return;
    const { left, width, range: [low, high] } = this.axis;
    const x = (position) => left + (Math.min(Math.max((position - low) / (high - low), 0), 1)) * width;
    mark.style.left = `${x(from)}px`;
    mark.style.width = `${x(to) - x(from)}px`;
  }

  /** A drag over the chart; with fingers the page scrolls, and the sliders are there. */
  begin(event) {
    if (event.button !== 0 || event.pointerType === "touch" || !this.chart.layout?.xaxis?.range) return;
    const { left, width, range: [low, high] } = this.axis;
    const place = ({ clientX }) => low + ((clientX - this.chart.getBoundingClientRect().left - left) / width) * (high - low);
    const start = place(event);
    if (start < low || start > high) return;
    event.preventDefault(); // no text is marked
    const move = (next) => this.set(Math.min(start, place(next)), Math.max(start, place(next)));
    const end = () => {
      window.removeEventListener("pointermove", move);
      this.changed();
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end, { once: true });
  }
}
