// How weights become colours: over which range, on which scale, and from which weight on.

/**
 * @typedef {{range: "all"|"view", kind: "log"|"linear", least: number}} Shading
 * `least`: smaller weights are shown as nothing.
 */

/** Share of the scale that is purple and hard to tell apart. */
const DARK = 0.25;
/** @type {Shading} */
const PLAIN = { range: "all", kind: "log", least: 0 };
/** @type {[string, string][]} */
const SHADINGS = [["all-log", "all weights, logarithmic"], ["view-log", "this view, logarithmic"],
  ["all-linear", "all weights, linear"], ["view-linear", "this view, linear"]];
/** @type {[string, string][]} */
const LEASTS = [["0", "nothing"], ...[1e-4, 1e-3, 0.01, 0.1].map((least) =>
  /** @type {[string, string]} */ ([String(least), `below ${least < 0.01 ? powerOfTen(Math.log10(least)) : least}`]))];

/** `view-linear-0.01`, empty for the plain one. @param {Shading} shading */
function shadingText({ range, kind, least }) {
  const text = `${range}-${kind}${least ? `-${least}` : ""}`;
  return text === "all-log" ? "" : text;
}

/** What `shadingText` wrote; the plain one for anything else. @param {string} text @returns {Shading} */
function shadingOf(text) {
  const found = /^(all|view)-(log|linear)(?:-(0\.\d{1,5}))?$/.exec(text);
  if (!found) return PLAIN;
  const [, range, kind, least] = found;
  return /** @type {Shading} */ ({ range, kind, least: Number(least ?? 0) });
}

/** How much colour a weight has, 0 to 1. @param {Shading} shading @param {LogScale} scale @param {number} log2 */
function shade({ kind }, scale, log2) {
  return kind === "log" ? (log2 - scale.floor) / (scale.top - scale.floor) : 2 ** (log2 - scale.top);
}

/** Whether weights up to the top of a range would all have the darkest colours, unless that was asked for. */
function isDark(/** @type {Shading} */ shading, /** @type {LogScale} */ scale, /** @type {LogScale} */ seen) {
  return shading.kind === "log" && shade(shading, scale, seen.top) < DARK;
}

/**
 * A pixel for every byte of a map's own scale, coloured on the shown one.
 * @param {LogScale} own @param {LogScale} scale @param {Shading} shading @param {number} paper a pixel
 */
function shadedColours(own, scale, shading, paper) {
  const least = Math.log2(shading.least);
  return Uint32Array.from({ length: 256 }, (_, code) => {
    const log2 = decodedLog2(code, own);
    if (shading.least && (!code || log2 < least)) return paper;
    return pixel(ramp(SEQUENTIAL, code ? shade(shading, scale, log2) : 0));
  });
}

/** The range of the weights that are in view, of all maps. @param {Panel[]} panels @param {View} view */
function rangeInView(panels, view) {
  let [floor, top] = [Infinity, -Infinity];
  for (const { tile, overview, source, isDifference } of panels) {
    const shown = tile ?? overview;
    if (!shown || isDifference) continue;
    const { low, high } = codesInView(shown, view);
    if (high === 0) continue;
    floor = Math.min(floor, decodedLog2(low, source.meta.scale));
    top = Math.max(top, decodedLog2(high, source.meta.scale));
  }
  if (top === -Infinity) return null;
  return { floor: Math.min(floor, top - 1), top };
}

/** The least and the largest code above 0. @param {Tile} tile @param {View} view */
function codesInView({ region, rows, columns, cell, query_start: q0, key_start: k0 }, view) {
  const within = (/** @type {number} */ start, /** @type {number} */ from, /** @type {number} */ most) => [
    Math.max(0, Math.floor((from - start) / cell)), Math.min(most, Math.ceil((from + view.span - start) / cell))];
  const [top, bottom] = within(q0, view.query, rows);
  const [left, right] = within(k0, view.key, columns);
  let [low, high] = [255, 0];
  for (let row = top; row < bottom; row += 1) {
    for (let at = row * columns + left; at < row * columns + right; at += 1) {
      const code = region.codes[at];
      if (code && code < low) low = code;
      if (code > high) high = code;
    }
  }
  return { low, high };
}

/** Ticks of the colour bar. @param {Shading} shading @param {LogScale} scale */
function shadedTicks({ kind }, scale) {
  if (kind === "linear") return [0, 0.25, 0.5, 0.75, 1].map((at) => ({ at, text: number(Number((at * 2 ** scale.top).toPrecision(2))) }));
  const ticks = weightTicks(scale);
  if (ticks.length > 1) return ticks;
  return [0, 1].map((at) => ({ at, text: number(Number((2 ** (at ? scale.top : scale.floor)).toPrecision(2))) }));
}
