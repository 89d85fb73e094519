// A chart before the chart library is there, which takes a second to start: nothing to point at.

const TICK_PIXELS = 40;
const [FEWEST_TICKS, MOST_TICKS] = [5, 10];
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&#39;": "'" };
/** Corners of marks in halves of their size; others are circles. */
const CORNERS = {
  square: [[-1, -1], [1, -1], [1, 1], [-1, 1]],
  diamond: [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]],
  "triangle-up": [[0, -1.2], [1.2, 1], [-1.2, 1]],
  "triangle-down": [[0, 1.2], [1.2, -1], [-1.2, -1]],
};

/** Steps of 1, 2 or 5 times a power of ten, as many as a height takes. */
function stepOf(span, pixels) {
  const rough = span / Math.min(Math.max(pixels / TICK_PIXELS + 1, FEWEST_TICKS), MOST_TICKS);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((step) => step * power >= rough);
}

/** The names of a layout's axes. */
function axesOf(layout) {
  return Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name));
}

/** A text of Plotly as lines of parts, each with whether it is bold. */
function partsOfText(text) {
  return text.split("<br>").map((line) => line.split(/(?=<b>)|<\/b>/).map((part) => ({
    isBold: part.startsWith("<b>"),
    text: part.replace("<b>", "").replace(/&(?:amp|lt|gt|quot|#x27|#39);/g, (found) => ENTITIES[found]),
  })));
}

/** A layout of Plotly with its lines, as an SVG element of a width. */
class QuickChart {
  constructor(data, layout, width) {
    Object.assign(this, { layout, width });
    this.root = part("svg", { width, height: layout.height, "font-family": layout.font.family, "font-size": layout.font.size, fill: layout.font.color, style: "display: block" });
    for (const shape of layout.shapes ?? []) this.shape(shape);
    for (const key of axesOf(layout)) this.axis(key);
    for (const trace of data) this.trace(trace);
    for (const note of layout.annotations ?? []) this.note(note);
  }

  /** Whether a layout says how far its axes go; the library finds it out where lines come and go. */
  static takes(layout) {
    return axesOf(layout).every((name) => layout[name].range);
  }

  /** Where a value of an axis lies; `ref` is `x2`, or `y domain` for parts of its length. */
  place(ref, value, isLogged = false) {
    const [name, ofDomain] = ref.split(" ");
    const { margin, height } = this.layout;
    const { domain, range, type } = this.layout[`${name[0]}axis${name.slice(1)}`];
    const number = type === "log" && !isLogged ? Math.log10(value) : value;
    const share = ofDomain ? value : (number - range[0]) / (range[1] - range[0]);
    const at = domain[0] + share * (domain[1] - domain[0]);
    if (name[0] === "x") return margin.l + at * (this.width - margin.l - margin.r);
    return height - margin.b - at * (height - margin.t - margin.b);
  }

  add(tag, attributes, ...children) {
    const made = part(tag, attributes, ...children);
    this.root.append(made);
    return made;
  }

  line(x1, y1, x2, y2, stroke, rest = {}) {
    this.add("line", { x1, y1, x2, y2, stroke, ...rest });
  }

  shape({ type, xref, yref, x0, x1, y0, y1, line, fillcolor }) {
    const [[left, right], [top, bottom]] = [[x0, x1].map((x) => this.place(xref, x)), [y1, y0].map((y) => this.place(yref, y))];
    if (type === "line") this.line(left, bottom, right, top, line.color, { "stroke-width": line.width, "stroke-dasharray": line.dash === "dash" ? "7 5" : "2 3" });
    else this.add("rect", { x: left, y: top, width: right - left, height: bottom - top, fill: fillcolor });
  }

  axis(key) {
    const axis = this.layout[key];
    const [ref, anchor] = [key.replace("axis", ""), axis.anchor];
    const ends = [0, 1].map((share) => this.place(`${ref} domain`, share));
    const sides = [0, 1].map((share) => this.place(`${anchor} domain`, share));
    if (ref[0] === "x") this.across(axis, ref, ends, sides[0]);
    else this.upwards(axis, ref, ends, sides);
  }

  across(axis, ref, [left, right], floor) {
    this.line(left, floor, right, floor, axis.linecolor);
    axis.tickvals.forEach((value, at) => {
      const x = this.place(ref, value);
      this.line(x, floor, x, floor + 5, axis.tickcolor);
      this.words(axis.ticktext[at], x, floor + 19, { size: axis.tickfont.size, anchor: "middle" });
    });
    this.words(axis.title.text, (left + right) / 2, floor + 42, { size: axis.title.font.size, anchor: "middle" });
  }

  upwards(axis, ref, [bottom, top], [left, right]) {
    const [low, high] = axis.range;
    const step = stepOf(high - low, bottom - top);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let at = Math.ceil(low / step); at * step <= high; at += 1) {
      const y = this.place(ref, at * step);
      const isZero = at === 0 && axis.zeroline;
      this.line(left, y, right, y, isZero ? axis.zerolinecolor : axis.gridcolor, { "stroke-width": isZero ? 1.5 : 1 });
      const text = axis.tickformat ? (at * step).toFixed(Number(/\d/.exec(axis.tickformat)[0])) : String(Number((at * step).toFixed(digits)));
      const sign = axis.tickformat && at >= 0 ? "+" : "";
      this.words(`${sign}${text.replace("-", "−")}`, left - 8, y + 4, { size: axis.tickfont.size, anchor: "end" });
    }
    const [x, y] = [left - 48, (bottom + top) / 2];
    this.words(axis.title.text, x, y, { size: axis.title.font.size, anchor: "middle" }).setAttribute("transform", `rotate(-90 ${x} ${y})`);
  }

  trace({ x, y, xaxis, yaxis, mode, line, marker, error_y: error }) {
    const [top, bottom] = [1, 0].map((share) => this.place(`${yaxis} domain`, share));
    const clip = this.add("svg", { x: 0, y: top, width: this.width, height: bottom - top, viewBox: `0 ${top} ${this.width} ${bottom - top}` });
    const points = x.map((value, at) => [this.place(xaxis, value), y[at] === null ? null : this.place(yaxis, y[at])]).filter(([, at]) => at !== null);
    const dashes = DASHES[line.dash] ?? "";
    if (mode !== "markers") clip.append(part("polyline", { points: points.map((each) => each.join()).join(" "), fill: "none", stroke: line.color, "stroke-width": line.width, "stroke-dasharray": dashes }));
    x.forEach((value, at) => {
      if (!error?.array || y[at] === null || error.array[at] === null) return;
      const [px, low, high] = [this.place(xaxis, value), this.place(yaxis, y[at] - error.arrayminus[at]), this.place(yaxis, y[at] + error.array[at])];
      for (const ends of [[px, low, px, high], [px - 3, low, px + 3, low], [px - 3, high, px + 3, high]]) {
        const [x1, y1, x2, y2] = ends;
        clip.append(part("line", { x1, y1, x2, y2, stroke: line.color }));
      }
    });
    for (const [px, py] of points) if (marker) clip.append(mark(px, py, marker));
  }

  note({ text, xref, yref, x, y, xanchor, yanchor = "middle", xshift = 0, yshift = 0, showarrow, arrowcolor, ax = 0, ay = 0, font = {} }) {
    const size = font.size ?? this.layout.font.size;
    const [px, py] = [this.place(xref, x, true), this.place(yref, y, true)];
    const [tx, ty] = [px + (showarrow ? ax : xshift), py + (showarrow ? ay : -yshift)];
    if (showarrow) this.line(px + 5, py + (ay * 5) / Math.max(ax, 5), tx - 2, ty, arrowcolor);
    const lines = partsOfText(text);
    const height = lines.length * size * 1.3;
    const top = { top: ty, middle: ty - height / 2, bottom: ty - height }[yanchor];
    const anchor = { left: "start", right: "end", center: "middle" }[xanchor];
    lines.forEach((parts, at) => this.words(parts, tx, top + size + at * size * 1.3, { size, anchor, color: font.color }));
  }

  words(text, x, y, { size, anchor, color = this.layout.font.color }) {
    const parts = typeof text === "string" ? partsOfText(text).flat() : text;
    return this.add("text", { x, y, "font-size": size, "text-anchor": anchor, fill: color },
      ...parts.map((one) => part("tspan", one.isBold ? { "font-weight": "bold" } : {}, one.text)));
  }
}

function part(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

function mark(x, y, { symbol, size, color }) {
  const look = symbol.endsWith("-open") ? { fill: "none", stroke: color } : { fill: color };
  const corners = CORNERS[symbol.replace("-open", "")];
  const r = size / 2;
  if (!corners) return part("circle", { cx: x, cy: y, r, ...look });
  return part("polygon", { points: corners.map(([dx, dy]) => `${x + dx * r},${y + dy * r}`).join(" "), ...look });
}
