// Where a map's numbers come from. A source answers from memory here; one that asks a server has
// the same interface.

/**
 * @typedef {object} Meta
 * @property {number} queryLength
 * @property {number} keyLength
 * @property {LogScale} scale
 * @property {"max"|"mean"} pool
 * @property {number | null} trainLength
 * @property {"weights"|"difference"} kind
 * @property {number} [base]  tokens of the smallest cell that is not computed anew
 *
 * @typedef {object} Region
 * @property {Uint8Array} codes  row after row
 * @property {number} rows
 * @property {number} columns
 * @property {number} cell  tokens along each side of a cell
 * @property {number} query_start
 * @property {number} key_start
 * @property {Float32Array | null} [weights]  exact
 * @property {Float32Array} [octaves]  of a difference by ratio
 * @property {Float32Array} [mass]  of a difference by mass
 *
 * @typedef {{value: number, kind: "weight"|"zero"|"hidden", least?: number}} Weight
 * `least`: smaller weights cannot be told from 0.
 *
 * @typedef {object} Source
 * @property {Meta} meta
 * @property {(query: number) => number} last  the last key that a query sees
 * @property {(query: number) => number} [firstSeen]  the first one, where rows see a window
 * @property {(q0: number, q1: number, k0: number, k1: number, cells: number,
 *   signal?: AbortSignal) => Promise<Region | null>} region  null when given up
 * @property {(cells: number) => Promise<(Region & {of: number}) | null>} [preview]  the whole map from
 *   the last rows `of` every cell, until `region` can give all of it; null when it can
 * @property {(query: number, key: number) => Promise<Weight>} weight
 * @property {(query: number, count: number) => Promise<{key: number, value: number}[]>} strongest
 * @property {(query: number) => Promise<ArrayLike<number> | null>} [rowOf]  the weights of the first keys
 *
 * @typedef {Record<string, {data: any, shape: number[]}>} Arrays
 */

/** More multiplications than this are not done for one view; the pyramid is shown instead. */
const MOST_WORK = 4e8;
/** Milliseconds of work between two chances for the page to draw. */
const SLICE = 12;
/** A region is given up for a newer one only after this long, so that a moving view shows something. */
const PATIENCE = 120;

/** The smallest power of two that covers `span` tokens with at most `cells` cells. */
function cellFor(/** @type {number} */ span, /** @type {number} */ cells) {
  let cell = 1;
  while (span > cell * cells) cell *= 2;
  return cell;
}

/** Lets the page draw. @returns {Promise<void>} */
function breath() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => { port1.close(); resolve(); };
    port2.postMessage(null);
  });
}

/** A map that carries its queries, keys, row scalars and pyramid: every weight is recomputed. */
class PayloadSource {
  /** @param {Arrays} arrays @param {Record<string, any>} metadata as AttentionMap.to_payload says */
  constructor(arrays, metadata) {
    const [queryLength, dim] = arrays.query.shape;
    /** @type {Meta} */
    this.meta = {
      queryLength,
      keyLength: arrays.key.shape[0],
      scale: { floor: metadata.floor_log2, top: metadata.top_log2 },
      pool: metadata.pool ?? "max",
      trainLength: metadata.train_length ?? null,
      kind: "weights",
    };
    this.dim = dim;
    this.rows = arrays;
    this.query = arrays.query.data;
    this.key = arrays.key.data;
    /** @type {Computed} */
    this.computed = {
      positivity: metadata.positivity, power: metadata.power ?? null, softcap: metadata.softcap ?? null,
    };
    /** Keys between two carries of stick-breaking. */
    this.block = metadata.block ?? 0;
    this.levels = levelsOf(arrays);
    this.finest = Math.min(Infinity, ...this.levels.keys());
  }

  /** @param {number} query */
  last(query) {
    return this.rows.last.data[query];
  }

  /** @param {number} query */
  firstSeen(query) {
    return this.rows.first?.data[query] ?? 0;
  }

  /** A row's formula from the dot product to the weight; below 0 for an exact zero. */
  rowFormula(/** @type {number} */ query) {
    const at = (/** @type {string} */ name) => this.rows[name].data[query];
    const [scale, bias, gain, out, rise] = ["scale", "bias", "gain", "out", "rise"].map(at);
    const row = { scale, bias, gain, out, rise };
    const keyScale = this.rows.key_scale.data;
    return weightFormula(this.computed, row, keyScale, this.byDistance(query), this.forgotten(query));
  }

  /** What a row's scores gain by the distance of a key. @param {number} query */
  byDistance(query) {
    const gained = this.rows.by_distance?.data;
    if (!gained) return () => 0;
    const own = this.last(query);
    return (/** @type {number} */ key) => gained[Math.min(Math.max(own - key, 0), gained.length - 1)];
  }

  /** The logarithm of what a gate keeps of a key in a row; null without one. @param {number} query */
  forgotten(query) {
    const sum = this.rows.decay?.data;
    if (!sum) return null;
    const own = sum[Math.max(this.last(query), 0)];
    return (/** @type {number} */ key) => Math.min(own - sum[key], 0);
  }

  /** @param {number} query @param {number} key */
  dot(query, key) {
    let sum = 0;
    for (let index = 0; index < this.dim; index += 1) {
      sum += this.query[query * this.dim + index] * this.key[key * this.dim + index];
    }
    return sum;
  }

  /** @param {number} query @param {number} key @returns {Promise<Weight>} */
  async weight(query, key) {
    if (key > this.last(query) || key < this.firstSeen(query)) return { value: 0, kind: "hidden" };
    if (this.rows.carry) {
      const found = new Float32Array(1);
      this.fillSticks(found, query, key, key + 1);
      return { value: found[0], kind: "weight" };
    }
    const dot = this.dot(query, key);
    const value = this.rowFormula(query)(dot, key);
    const isZero = value < 0 || (value === 0 && this.computed.positivity === "relu");
    return { value: Math.max(value, 0), kind: isZero ? "zero" : "weight" };
  }

  /** @param {number} query */
  async rowOf(query) {
    const weights = new Float32Array(Math.min(this.last(query) + 1, this.meta.keyLength));
    this.fillRow(weights, query, 0, weights.length);
    return weights;
  }

  /** @param {number} query @param {number} many */
  async strongest(query, many) {
    return largest(await this.rowOf(query), many);
  }

  /** Weights of the visible keys k0 to k1 of a query into `row`; the rest of it is left alone. */
  fillRow(/** @type {Float32Array} */ row, /** @type {number} */ query,
    /** @type {number} */ k0, /** @type {number} */ k1) {
    if (this.rows.carry) return this.fillSticks(row, query, k0, k1);
    const { dim, key } = this;
    const own = this.query.subarray(query * dim, (query + 1) * dim);
    const formula = this.rowFormula(query);
    const end = Math.min(k1, this.last(query) + 1);
    let j = Math.max(k0, this.firstSeen(query));
    for (; j + 3 < end; j += 4) { // four keys at once: every query number is read once for them
      const base = j * dim;
      let a = 0, b = 0, c = 0, d = 0;
      for (let index = 0; index < dim; index += 1) {
        const value = own[index];
        const from = base + index;
        a += value * key[from];
        b += value * key[from + dim];
        c += value * key[from + 2 * dim];
        d += value * key[from + 3 * dim];
      }
      row[j - k0] = Math.max(formula(a, j), 0);
      row[j - k0 + 1] = Math.max(formula(b, j + 1), 0);
      row[j - k0 + 2] = Math.max(formula(c, j + 2), 0);
      row[j - k0 + 3] = Math.max(formula(d, j + 3), 0);
    }
    for (; j < end; j += 1) row[j - k0] = Math.max(formula(this.dot(query, j), j), 0);
    return end - k0;
  }

  /** As `fillRow`, of stick-breaking: every block of keys is gone through from its end. */
  fillSticks(/** @type {Float32Array} */ row, /** @type {number} */ query,
    /** @type {number} */ k0, /** @type {number} */ k1) {
    const { carry, key_scale: keyScale, scale, bias, out } = this.rows;
    const [apart, own, first] = [this.byDistance(query), this.last(query), this.firstSeen(query)];
    const end = Math.min(k1, own + 1);
    const start = Math.max(k0, first);
    const blocks = carry.shape[1];
    for (let block = Math.floor(start / this.block); block * this.block < end; block += 1) {
      const low = Math.max(start, block * this.block);
      const high = Math.min(own, (block + 1) * this.block);
      const scores = new Float64Array(Math.max(0, high - low));
      for (let at = 0; at < scores.length; at += 1) {
        const dot = this.dot(query, low + at);
        const product = scale.data[query] * keyScale.data[low + at] * dot;
        scores[at] = bounded(product, this.computed.softcap) + bias.data[query]
          + apart(low + at);
      }
      breakSticks(scores, carry.data[query * blocks + block]);
      row.set(scores.subarray(0, Math.max(0, Math.min(end, high) - low)), low - k0);
    }
    if (own >= start && own < end) row[own - k0] = out.data[query];
    return end - k0;
  }

  /** @type {Source["region"]} */
  async region(q0, q1, k0, k1, cells, signal) {
    let cell = cellFor(Math.max(q1 - q0, k1 - k0), cells);
    const work = (q1 - q0) * (k1 - k0) * this.dim;
    if (cell < this.finest && work > MOST_WORK && this.levels.size) cell = this.finest;
    const frame = frameOf(q0, q1, k0, k1, cell, this.meta);
    const level = this.levels.get(cell);
    return level ? cropped(level, frame) : this.exactRegion(frame, signal);
  }

  /** @param {Frame} frame @param {AbortSignal} [signal] @returns {Promise<Region | null>} */
  async exactRegion(frame, signal) {
    const { rows, columns, cell, query_start: q0, key_start: k0 } = frame;
    const { queryLength, keyLength, scale, pool } = this.meta;
    const weights = new Float32Array(rows * columns);
    const line = new Float32Array(Math.min(columns * cell, keyLength - k0));
    const began = performance.now();
    let sliceEnd = began + SLICE;
    for (let row = 0; row < rows; row += 1) {
      const cells = new CellRow(weights.subarray(row * columns, (row + 1) * columns), cell, pool);
      const start = q0 + row * cell;
      const end = Math.min(start + cell, queryLength);
      for (let query = start; query < end; query += 1) {
        const filled = this.fillRow(line, query, k0, k0 + line.length);
        cells.add(line, Math.max(this.firstSeen(query) - k0, 0), filled);
      }
      cells.finish();
      const now = performance.now();
      if (now < sliceEnd) continue;
      await breath();
      if (signal?.aborted && now > began + PATIENCE) return null;
      sliceEnd = performance.now() + SLICE;
    }
    return { ...frame, codes: encoded(weights, scale), weights };
  }
}

/**
 * @typedef {{rows: number, columns: number, cell: number, query_start: number, key_start: number}}
 * Frame  Which cells a region holds.
 */

/** @returns {Frame} the aligned cells that cover the tokens asked for */
function frameOf(/** @type {number} */ q0, /** @type {number} */ q1, /** @type {number} */ k0,
  /** @type {number} */ k1, /** @type {number} */ cell, /** @type {Meta} */ meta) {
  const query = Math.floor(Math.max(q0, 0) / cell);
  const key = Math.floor(Math.max(k0, 0) / cell);
  return {
    rows: Math.max(0, Math.ceil(Math.min(q1, meta.queryLength) / cell) - query),
    columns: Math.max(0, Math.ceil(Math.min(k1, meta.keyLength) / cell) - key),
    cell,
    query_start: query * cell,
    key_start: key * cell,
  };
}

/** @param {Level} level @param {Frame} frame @returns {Region} */
function cropped(level, frame) {
  const { rows, columns, cell } = frame;
  const codes = new Uint8Array(rows * columns);
  const left = frame.key_start / cell;
  const top = frame.query_start / cell;
  for (let row = 0; row < rows; row += 1) {
    const from = (top + row) * level.columns + left;
    codes.set(level.codes.subarray(from, from + columns), row * columns);
  }
  return { ...frame, codes, weights: null };
}

/** One row of cells, filled query by query. */
class CellRow {
  /** @param {Float32Array} cells @param {number} cell @param {"max"|"mean"} pool */
  constructor(cells, cell, pool) {
    this.cells = cells;
    this.cell = cell;
    this.isMean = pool === "mean" && cell > 1;
    this.pairs = new Uint32Array(this.isMean ? cells.length : 0);
  }

  /** Adds the weights `from` to `filled` of one query: those that it sees. */
  add(/** @type {Float32Array} */ line, /** @type {number} */ from, /** @type {number} */ filled) {
    const { cells, cell, pairs } = this;
    if (cell === 1) {
      if (from < filled) cells.set(line.subarray(from, filled), from);
      return;
    }
    for (let j = from; j < filled; j += 1) {
      const at = Math.floor(j / cell);
      if (this.isMean) {
        cells[at] += line[j];
        pairs[at] += 1;
      } else if (line[j] > cells[at]) cells[at] = line[j];
    }
  }

  /** Sums to means over the visible pairs. */
  finish() {
    this.pairs.forEach((pairs, at) => { this.cells[at] /= Math.max(pairs, 1); });
  }
}

/** @param {Float32Array} weights @param {LogScale} scale */
function encoded(weights, scale) {
  const codes = new Uint8Array(weights.length);
  const step = 255 / (scale.top - scale.floor);
  for (let at = 0; at < weights.length; at += 1) {
    if (weights[at] <= 0) continue;
    const code = Math.round((Math.log2(weights[at]) - scale.floor) * step);
    codes[at] = Math.min(255, Math.max(0, code));
  }
  return codes;
}

/** log2 of what a byte stands for. @param {number} code @param {LogScale} scale */
function decodedLog2(code, scale) {
  return scale.floor + (code / 255) * (scale.top - scale.floor);
}

/** @typedef {{codes: Uint8Array, rows: number, columns: number}} Level */

/** The pyramid by cell size. @param {Arrays} arrays @returns {Map<number, Level>} */
function levelsOf(arrays) {
  /** @type {Map<number, Level>} */
  const levels = new Map();
  for (const [name, { data, shape }] of Object.entries(arrays)) {
    if (!name.startsWith("level_")) continue;
    levels.set(Number(name.slice(6)), { codes: data, rows: shape[0], columns: shape[1] });
  }
  return levels;
}

/** @param {Float32Array} weights @param {number} many */
function largest(weights, many) {
  /** @type {{key: number, value: number}[]} */
  const best = [];
  for (let key = 0; key < weights.length; key += 1) {
    const value = weights[key];
    if (value <= 0 || (best.length === many && value <= best[many - 1].value)) continue;
    let at = Math.min(best.length, many - 1);
    while (at > 0 && best[at - 1].value < value) at -= 1;
    best.splice(at, 0, { key, value });
    best.length = Math.min(best.length, many);
  }
  return best;
}

/** Two maps of the same text: first − second, or log2 of first / second. */
class DifferenceSource {
  /** @param {Source} first @param {Source} second @param {Measure} measure */
  constructor(first, second, measure) {
    this.first = first;
    this.second = second;
    this.measure = measure;
    /** @type {Meta} */
    this.meta = { ...first.meta, kind: "difference" };
  }

  /** @param {number} query */
  last(query) {
    return this.first.last(query);
  }

  /** @param {number} query */
  firstSeen(query) {
    const both = [this.first, this.second].map((each) => each.firstSeen?.(query) ?? 0);
    return Math.min(...both);
  }

  /** @type {Source["region"]} */
  async region(...bounds) {
    const both = await Promise.all([this.first.region(...bounds), this.second.region(...bounds)]);
    const [first, second] = both;
    if (!first || !second) return null;
    const [a, b] = [log2Of(first, this.first.meta.scale), log2Of(second, this.second.meta.scale)];
    const [c, d] = [weightOf(first, this.first.meta.scale), weightOf(second, this.second.meta.scale)];
    const { length } = first.codes;
    return this.measure === "mass"
      ? { ...first, mass: Float32Array.from({ length }, (_, at) => c(at) - d(at)), weights: null }
      : { ...first, octaves: Float32Array.from({ length }, (_, at) => a(at) - b(at)), weights: null };
  }

  /** Both weights. @param {number} query @param {number} key */
  pair(query, key) {
    return Promise.all([this.first.weight(query, key), this.second.weight(query, key)]);
  }
}

/** @param {Region} region @param {LogScale} scale @returns {(at: number) => number} */
function log2Of({ weights, codes }, scale) {
  if (!weights) return (at) => decodedLog2(codes[at], scale);
  return (at) => Math.max(weights[at] > 0 ? Math.log2(weights[at]) : scale.floor, scale.floor);
}

/** @param {Region} region @param {LogScale} scale @returns {(at: number) => number} */
function weightOf({ weights, codes }, scale) {
  if (weights) return (at) => weights[at];
  const table = Float32Array.from({ length: 256 }, (_, code) => (code ? 2 ** decodedLog2(code, scale) : 0));
  return (at) => table[codes[at]];
}
