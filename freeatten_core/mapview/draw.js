// Drawing: one map on one canvas, from tiles to axes. Knows nothing of events and sources.

/**
 * @typedef {object} Look
 * @property {"light"|"dark"} theme
 * @property {string} paper
 * @property {string} text
 * @property {string} soft
 * @property {string} line
 * @property {string} hidden
 * @property {string} hatch
 * @property {string} pin
 *
 * @typedef {Frame & {image: HTMLCanvasElement, region: Region}} Tile
 *
 * @typedef {object} Scene
 * @property {View} view
 * @property {Tile[]} tiles  the coarsest first
 * @property {Meta} meta
 * @property {string[] | null} tokens
 * @property {{query: number, key: number} | null} cross
 * @property {number | null} pin
 * @property {(query: number) => number} last  the last key that a query sees
 * @property {Look} look
 */

const MARGIN = { left: 68, right: 8, top: 8, bottom: 68 };
const FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif";
const MONO = "ui-monospace, 'Liberation Mono', 'DejaVu Sans Mono', monospace";
const LABEL_SIZE = 11;
/** Pixels a token needs to be labelled with its text. */
const TOKEN_PITCH = 13;
/** Pixels a key needs for its text to lie flat. */
const FLAT_PITCH = 52;
/** Pixels a token needs to be outlined as a square. */
const OUTLINE_PITCH = 5;
const TICKS = 6;

/**
 * A region as an image, one pixel a cell; cells that no query of theirs sees stay clear.
 * @param {Region} region @param {Source} source @param {(at: number) => number} colour
 * @returns {Tile}
 */
function tileOf(region, source, colour) {
  const { rows, columns, cell, query_start: q0, key_start: k0 } = region;
  const image = document.createElement("canvas");
  image.width = Math.max(columns, 1);
  image.height = Math.max(rows, 1);
  const context = /** @type {CanvasRenderingContext2D} */ (image.getContext("2d"));
  const data = context.createImageData(image.width, image.height);
  const pixels = new Uint32Array(data.data.buffer);
  for (let row = 0; row < rows; row += 1) {
    const query = Math.min(q0 + (row + 1) * cell, source.meta.queryLength) - 1;
    const visible = Math.ceil((source.last(query) + 1 - k0) / cell);
    const end = Math.min(columns, Math.max(visible, 0));
    const hidden = Math.floor(((source.firstSeen?.(q0 + row * cell) ?? 0) - k0) / cell);
    for (let at = row * columns + Math.max(hidden, 0); at < row * columns + end; at += 1) pixels[at] = colour(at);
  }
  context.putImageData(data, 0, 0);
  const frame = { rows, columns, cell, query_start: q0, key_start: k0 };
  return { ...frame, image, region };
}

/** Steps of 1, 2 or 5 times a power of ten. @param {number} span @param {number} most */
function tickStep(span, most) {
  const raw = Math.max(span / most, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * (/** @type {number} */ ([1, 2, 5, 10].find((step) => step * power >= raw)));
}

/** Lines that say "nothing to see here" on either theme. */
function hatching(/** @type {CanvasRenderingContext2D} */ context, /** @type {Look} */ look) {
  const square = document.createElement("canvas");
  square.width = 8;
  square.height = 8;
  const pen = /** @type {CanvasRenderingContext2D} */ (square.getContext("2d"));
  pen.fillStyle = look.hidden;
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = look.hatch;
  pen.lineWidth = 1;
  for (const shift of [-8, 0, 8]) {
    pen.beginPath();
    pen.moveTo(shift - 1, 9);
    pen.lineTo(shift + 9, -1);
    pen.stroke();
  }
  return /** @type {CanvasPattern} */ (context.createPattern(square, "repeat"));
}

/** The width of a canvas of a height. @param {number} height */
function widthOf(height) {
  return height - MARGIN.top - MARGIN.bottom + MARGIN.left + MARGIN.right;
}

/** The square where a map is drawn, with its axes around it. */
class Plot {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.width = 0;
    this.side = 1;
    this.ratio = 1;
  }

  /** Device pixels along the square. */
  get pixels() {
    return Math.round(this.side * this.ratio);
  }

  /** Gives the canvas a width, and the height that goes with it. @param {number} width */
  fit(width) {
    if (width === this.width && this.ratio === (window.devicePixelRatio || 1)) return;
    this.width = width;
    this.canvas.style.width = `${width}px`;
    this.side = Math.max(width - MARGIN.left - MARGIN.right, 1);
    this.ratio = window.devicePixelRatio || 1;
    const height = this.side + MARGIN.top + MARGIN.bottom;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
  }

  /** The token at a point of the canvas; fractions, and outside the square too. */
  at(/** @type {number} */ x, /** @type {number} */ y, /** @type {View} */ view) {
    const scale = view.span / this.side;
    return {
      query: view.query + (y - MARGIN.top) * scale,
      key: view.key + (x - MARGIN.left) * scale,
    };
  }

  /** @param {number} x @param {number} y */
  holds(x, y) {
    const [column, row] = [x - MARGIN.left, y - MARGIN.top];
    return column >= 0 && row >= 0 && column < this.side && row < this.side;
  }

  /** @param {number} key @param {View} view */
  x(key, view) {
    return MARGIN.left + ((key - view.key) / view.span) * this.side;
  }

  /** @param {number} query @param {View} view */
  y(query, view) {
    return MARGIN.top + ((query - view.query) / view.span) * this.side;
  }

  /** @param {Scene} scene */
  paint(scene) {
    const { context, ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = scene.look.paper;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, MARGIN.top, this.side, this.side);
    context.clip();
    this.paintTiles(scene);
    this.paintTrained(scene);
    this.paintCross(scene);
    context.restore();
    context.strokeStyle = scene.look.line;
    context.lineWidth = 1;
    context.strokeRect(MARGIN.left - 0.5, MARGIN.top - 0.5, this.side + 1, this.side + 1);
    this.paintAxes(scene);
  }

  /** @param {Scene} scene */
  paintTiles({ view, tiles, meta, look }) {
    const { context } = this;
    const hatch = hatching(context, look);
    const [x0, y0] = [this.x(0, view), this.y(0, view)];
    const [x1, y1] = [this.x(meta.keyLength, view), this.y(meta.queryLength, view)];
    context.save();
    context.beginPath();
    context.rect(x0, y0, x1 - x0, y1 - y0);
    context.clip();
    context.fillStyle = hatch;
    context.fillRect(MARGIN.left, MARGIN.top, this.side, this.side);
    context.imageSmoothingEnabled = false;
    for (const tile of tiles) this.paintTile(tile, view);
    context.restore();
  }

  /** The part of a tile that is in view: what it covers is hidden, where it is clear too. */
  paintTile(/** @type {Tile} */ tile, /** @type {View} */ view) {
    const { cell, rows, columns, query_start: q0, key_start: k0 } = tile;
    const first = Math.max(0, Math.floor((view.key - k0) / cell));
    const top = Math.max(0, Math.floor((view.query - q0) / cell));
    const wide = Math.min(columns, Math.ceil((view.key + view.span - k0) / cell)) - first;
    const high = Math.min(rows, Math.ceil((view.query + view.span - q0) / cell)) - top;
    if (wide <= 0 || high <= 0) return;
    const x = this.x(k0 + first * cell, view);
    const y = this.y(q0 + top * cell, view);
    const scale = (cell * this.side) / view.span;
    this.context.fillRect(x, y, wide * scale, high * scale);
    this.context.drawImage(tile.image, first, top, wide, high, x, y, wide * scale, high * scale);
  }

  /** Where training ended: queries below see more than in training, keys left of the dots are
   * farther back than in training. */
  paintTrained(/** @type {Scene} */ { view, meta, look, last }) {
    const trained = meta.trainLength;
    if (!trained || trained >= meta.queryLength) return;
    const { context } = this;
    const y = this.y(trained, view);
    const right = MARGIN.left + this.side;
    const end = Math.max(meta.queryLength, meta.keyLength);
    const edge = Math.min(Math.max(this.x(last(trained) + 1, view), MARGIN.left), right);
    this.twice(() => this.stroke(MARGIN.left, y, edge, y), [7, 5], 1.5);
    this.context.setLineDash([7, 5]);
    this.context.strokeStyle = look.text;
    this.stroke(edge, y, right, y);
    this.context.setLineDash([]);
    const dots = [1.5, 4];
    const length = this.x(end - trained, view) - this.x(0, view);
    this.twice(() => this.diagonal(this.x(0, view), y, length, dots[0] + dots[1]), dots, 1.5);
    if (y < MARGIN.top + 16 || y > MARGIN.top + this.side) return;
    const text = "trained up to here";
    context.font = `${LABEL_SIZE}px ${FONT}`;
    const width = context.measureText(text).width;
    context.fillStyle = look.paper;
    context.globalAlpha = 0.85;
    context.fillRect(right - width - 12, y - 17, width + 8, 14);
    context.globalAlpha = 1;
    context.fillStyle = look.text;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(text, right - 8, y - 9.5);
  }

  /** Light on dark, so that it is seen on every colour. */
  twice(/** @type {() => void} */ draw, /** @type {number[]} */ dash, width = 1) {
    const { context } = this;
    context.setLineDash(dash);
    context.strokeStyle = "rgba(0, 0, 0, 0.55)";
    context.lineWidth = width + 2;
    draw();
    context.strokeStyle = "#ffffff";
    context.lineWidth = width;
    draw();
    context.setLineDash([]);
  }

  /**
   * The part in view of a line down to the right, its dashes as on the whole line: close up that has
   * a hundred thousand of them, which takes 40 ms.
   */
  diagonal(/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ length,
    /** @type {number} */ period) {
    const step = period / Math.SQRT2;
    const [across, down] = [MARGIN.left - x, MARGIN.top - y];
    const from = Math.floor(Math.max(0, across, down) / step) * step;
    const to = Math.min(length, across + this.side, down + this.side);
    if (to > from) this.stroke(x + from, y + from, x + to, y + to);
  }

  /** @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
  stroke(x0, y0, x1, y1) {
    this.context.beginPath();
    this.context.moveTo(x0, y0);
    this.context.lineTo(x1, y1);
    this.context.stroke();
  }

  /** @param {Scene} scene */
  paintCross({ view, cross, pin, look }) {
    const pitch = this.side / view.span;
    const { left, top } = MARGIN;
    if (pin !== null) {
      const high = Math.max(pitch, 1);
      this.context.strokeStyle = look.pin;
      this.context.lineWidth = pitch >= OUTLINE_PITCH ? 2 : 1.2;
      this.context.strokeRect(left - 4, this.y(pin + 0.5, view) - high / 2, this.side + 8, high);
    }
    if (!cross) return;
    const [x, y] = [this.x(cross.key, view), this.y(cross.query, view)];
    if (pitch < OUTLINE_PITCH) {
      const [cx, cy] = [x + pitch / 2, y + pitch / 2];
      this.twice(() => this.stroke(left, cy, left + this.side, cy), [], 0.7);
      this.twice(() => this.stroke(cx, top, cx, top + this.side), [], 0.7);
      return;
    }
    this.context.globalAlpha = 0.6;
    this.twice(() => this.context.strokeRect(left - 4, y, this.side + 8, pitch), [], 0.7);
    this.twice(() => this.context.strokeRect(x, top - 4, pitch, this.side + 8), [], 0.7);
    this.context.globalAlpha = 1;
    this.twice(() => this.context.strokeRect(x, y, pitch, pitch), [], 1.5);
  }

  /** @param {Scene} scene */
  paintAxes(scene) {
    const { view, tokens, meta, look } = scene;
    const withTokens = Boolean(tokens) && this.side / view.span >= TOKEN_PITCH;
    this.paintQueries(scene, withTokens);
    this.paintKeys(scene, withTokens);
    const range = (/** @type {number} */ start, /** @type {number} */ length) => {
      const last = Math.min(Math.ceil(start + view.span), length) - 1;
      return withTokens ? ` ${count(Math.floor(start))} – ${count(last)}` : "";
    };
    const { context } = this;
    context.fillStyle = look.soft;
    context.font = `${LABEL_SIZE}px ${FONT}`;
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    const middleX = MARGIN.left + this.side / 2;
    const below = MARGIN.top + this.side + (withTokens ? MARGIN.bottom : 34) - 4;
    context.fillText(`key, the token read${range(view.key, meta.keyLength)}`, middleX, below);
    context.save();
    context.translate(withTokens ? 10 : 16, MARGIN.top + this.side / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(`query, the reader${range(view.query, meta.queryLength)}`, 0, 0);
    context.restore();
  }

  /** @param {Scene} scene @param {boolean} withTokens */
  paintQueries(scene, withTokens) {
    const { context } = this;
    const { view } = scene;
    const x = MARGIN.left - 6;
    for (const label of this.labels(view.query, scene.meta.queryLength, scene, withTokens)) {
      const y = this.y(label.position + 0.5, view);
      if (y < MARGIN.top + 3 || y > MARGIN.top + this.side - 3) continue;
      const isStrong = label.position === scene.cross?.query || label.position === scene.pin;
      this.labelStyle(isStrong, scene.look, withTokens);
      context.textAlign = "right";
      this.paintLines(label.text, x, y, MARGIN.left - 24, this.side / view.span / TOKEN_PITCH);
    }
  }

  /** @param {Scene} scene @param {boolean} withTokens */
  paintKeys(scene, withTokens) {
    const { context } = this;
    const { view } = scene;
    const y = MARGIN.top + this.side + 6;
    const pitch = this.side / view.span;
    const isFlat = !withTokens || pitch >= FLAT_PITCH;
    for (const label of this.labels(view.key, scene.meta.keyLength, scene, withTokens)) {
      const x = this.x(label.position + 0.5, view);
      if (x < MARGIN.left + 3 || x > MARGIN.left + this.side - 3) continue;
      this.labelStyle(label.position === scene.cross?.key, scene.look, withTokens);
      context.save();
      const half = withTokens ? 0 : context.measureText(label.text).width / 2;
      context.translate(Math.min(x, MARGIN.left + this.side + MARGIN.right - half), isFlat ? y + 6 : y);
      if (!isFlat) context.rotate(-Math.PI / 2);
      context.textAlign = isFlat ? "center" : "right";
      if (isFlat && withTokens) this.paintLines(label.text, 0, TOKEN_PITCH, pitch - 6, 3);
      else context.fillText(this.fitted(label.text, MARGIN.bottom - 26), 0, 0);
      context.restore();
    }
  }

  /** @param {boolean} strong @param {Look} look @param {boolean} mono */
  labelStyle(strong, look, mono) {
    const { context } = this;
    context.font = `${strong ? "bold " : ""}${LABEL_SIZE}px ${mono ? MONO : FONT}`;
    context.fillStyle = strong ? look.text : look.soft;
    context.textBaseline = "middle";
    context.direction = "ltr";
  }

  /** Tokens, one each, or positions at round numbers. */
  labels(/** @type {number} */ start, /** @type {number} */ length, /** @type {Scene} */ scene,
    /** @type {boolean} */ withTokens) {
    const { view, tokens } = scene;
    const most = Math.max(2, Math.min(TICKS, Math.floor(this.side / 52)));
    const step = withTokens ? 1 : tickStep(view.span, most);
    const end = Math.min(start + view.span, length);
    const found = [];
    for (let position = Math.ceil((start - 1) / step) * step; position < end; position += step) {
      if (position < 0) continue;
      const text = withTokens ? isolated(tokenText(tokens?.[position] ?? "")) : count(position);
      found.push({ position, text });
    }
    return found;
  }

  /** Text in at most so many lines of a width around `y`; what does not fit is cut. */
  paintLines(/** @type {string} */ text, /** @type {number} */ x, /** @type {number} */ y,
    /** @type {number} */ width, /** @type {number} */ most) {
    const lines = [];
    let rest = Array.from(text).filter((character) => !"\u2068\u2069".includes(character));
    while (rest.length && lines.length < Math.floor(most) - 1) {
      let end = rest.length;
      while (end > 1 && this.context.measureText(rest.slice(0, end).join("")).width > width) end -= 1;
      lines.push(isolated(rest.slice(0, end).join("")));
      rest = rest.slice(end);
    }
    if (rest.length) lines.push(this.fitted(isolated(rest.join("")), width));
    lines.forEach((line, at) => this.context.fillText(line, x, y + (at - (lines.length - 1) / 2) * TOKEN_PITCH));
  }

  /** Text cut to a width. @param {string} text @param {number} width */
  fitted(text, width) {
    if (this.context.measureText(text).width <= width) return text;
    const characters = Array.from(text).filter((character) => !"\u2068\u2069".includes(character));
    let end = characters.length;
    const cut = () => isolated(`${characters.slice(0, end).join("")}…`);
    while (end > 1 && this.context.measureText(cut()).width > width) end -= 1;
    return cut();
  }
}

/** Milliseconds after which a frame is no longer waited for. */
const LONGEST_FRAME = 150;

/**
 * Works with the next frame, or without one: hidden pages and stalled displays have none.
 * @param {() => void} work @returns {() => void} calls it off
 */
function nextFrame(work) {
  const run = () => {
    off();
    work();
  };
  const frame = requestAnimationFrame(run);
  const timer = setTimeout(run, LONGEST_FRAME);
  const off = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
  return off;
}
