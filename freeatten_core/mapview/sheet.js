// A sheet: pictures with the words around them, as one SVG; a PNG is made of that.

const SHEET_PADDING = 16;
const SHEET_SWATCH = 48;
/** Characters that XML cannot hold. */
const NO_XML = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Surrogate}/gu;

/** @param {string} text */
function inXml(text) {
  const named = /** @type {Record<string, string>} */ ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" });
  return text.replace(NO_XML, "\ufffd").replace(/[&<>"]/g, (one) => named[one]);
}

/** @param {string} name @param {Record<string, any>} attributes @param {string} inner  markup */
function xml(name, attributes, inner = "") {
  const said = Object.entries(attributes).filter(([, value]) => value !== "" && value !== undefined)
    .map(([key, value]) => ` ${key}="${inXml(String(value))}"`);
  return `<${name}${said.join("")}>${inner}</${name}>`;
}

/** The box around boxes. @param {DOMRect[]} boxes */
function around(boxes) {
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const width = Math.max(...boxes.map((box) => box.right)) - left;
  const height = Math.max(...boxes.map((box) => box.bottom)) - top;
  return { left, top, width, height };
}

class Sheet {
  /** @param {number} width  between the margins @param {{paper: string, text: string, soft: string}} look */
  constructor(width, look) {
    this.width = width;
    this.look = look;
    this.y = 0;
    /** @type {string[]} */
    this.parts = [];
    this.pen = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  }

  /** A line of text at a place; `y` is its top. */
  text(/** @type {number} */ x, /** @type {number} */ y, /** @type {string} */ text,
    { size = 12, bold = false, color = this.look.text, anchor = "" } = {}) {
    this.parts.push(xml("text", {
      x, y: y + size, fill: color, "font-size": size, "font-weight": bold ? "bold" : "", "text-anchor": anchor,
    }, inXml(text)));
  }

  /** Text in as many lines as it needs, below what is there. */
  words(/** @type {string} */ text, options = {}) {
    const { size = 12, bold = false, color = this.look.text, indent = 0 } = options;
    this.pen.font = `${bold ? "bold " : ""}${size}px ${FONT}`;
    for (const line of this.lines(text, this.width - indent)) {
      this.text(indent, this.y, line, { size, bold, color });
      this.y += Math.round(size * 1.45);
    }
  }

  /** Broken at blanks, and within what is wider than a line. @param {string} text @param {number} width @returns {string[]} */
  lines(text, width) {
    const fits = (/** @type {string} */ line) => this.pen.measureText(line).width <= width;
    const found = [""];
    for (const word of text.split(" ")) {
      const last = found[found.length - 1];
      const longer = last ? `${last} ${word}` : word;
      if (fits(longer)) found[found.length - 1] = longer;
      else if (fits(word)) found.push(word);
      else {
        if (last) found.push("");
        for (const part of word) {
          if (fits(found[found.length - 1] + part)) found[found.length - 1] += part;
          else found.push(part);
        }
      }
    }
    return found;
  }

  /** A line of a legend: how it is drawn, and what is said of it. */
  entry(/** @type {{color: string, dashes?: string, sign?: string}} */ { color, dashes, sign }, /** @type {string} */ text) {
    const y = this.y + 8;
    this.parts.push(xml("line", { x1: 1, x2: 39, y1: y, y2: y, stroke: color, "stroke-width": 2.2, "stroke-dasharray": dashes }));
    if (sign) this.text(20, y - 10, sign, { size: 15, color, anchor: "middle" });
    this.words(text, { indent: SHEET_SWATCH, size: 13 });
  }

  /** A canvas, or a chart as SVG text, at a place. */
  picture(/** @type {HTMLCanvasElement | string} */ source,
    /** @type {{x: number, y: number, width: number, height: number}} */ place) {
    const markup = typeof source === "string" ? source.replace("<svg ", `<svg x="${place.x}" y="${place.y}" `)
      : xml("image", { ...place, preserveAspectRatio: "none", href: source.toDataURL() });
    this.parts.push(markup);
  }

  /** The colours of a scale, with ticks below. @param {Rgb[]} anchors @param {{at: number, text: string}[]} ticks */
  colours(anchors, ticks, width = Math.min(this.width, 520)) {
    const stops = anchors.map((rgb, at) => xml("stop", { offset: at / (anchors.length - 1), "stop-color": css(rgb) }));
    const id = `scale-${this.parts.length}`;
    this.parts.push(xml("linearGradient", { id }, stops.join("")),
      xml("rect", { x: 0, y: this.y, width, height: 10, fill: `url(#${id})` }));
    for (const { at, text } of ticks) {
      const anchor = at > 0.97 ? "end" : at < 0.03 ? "start" : "middle";
      this.text(at * width, this.y + 13, text, { size: 11, color: this.look.soft, anchor });
    }
    this.y += 32;
  }

  /** @returns {{svg: string, width: number, height: number}} */
  made() {
    const [width, height] = [this.width, this.y].map((side) => Math.ceil(side + 2 * SHEET_PADDING));
    const inner = xml("g", { transform: `translate(${SHEET_PADDING} ${SHEET_PADDING})` }, this.parts.join(""));
    const svg = xml("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT },
      xml("rect", { width, height, fill: this.look.paper }) + inner);
    return { svg, width, height };
  }

  /** Saves it as `name.svg` or `name.png`. @param {string} name @param {"svg" | "png"} kind */
  async save(name, kind, ratio = Math.max(window.devicePixelRatio || 1, 1)) {
    const { svg, width, height } = this.made();
    const blob = kind === "svg" ? new Blob([svg], { type: "image/svg+xml" }) : await raster(svg, width * ratio, height * ratio);
    const link = element("a", { href: URL.createObjectURL(blob), download: `${name}.${kind}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.getAttribute("href") ?? ""), 60_000);
  }
}

/** @param {string} svg @param {number} width @param {number} height @returns {Promise<Blob>} a PNG */
async function raster(svg, width, height) {
  const image = new Image();
  await new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = () => reject(new Error("the picture could not be drawn"));
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  });
  const canvas = /** @type {HTMLCanvasElement} */ (element("canvas", { width: Math.round(width), height: Math.round(height) }));
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is too large"))), "image/png");
  });
}
