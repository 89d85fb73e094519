// A link: what of the maps is shown, as text.

/**
 * @typedef {"mass"|"ratio"} Measure  w₁ − w₂, or w₁ ÷ w₂
 * @typedef {{first: number, second: number, measure: Measure}} Pair  numbers of two maps of a head
 *
 * @typedef {object} Linked
 * @property {string | null} head  null where there is only one, or none was named
 * @property {View | null} view  null for the whole map
 * @property {number | null} pin
 * @property {Pair | null} difference
 * @property {Shading} shading
 * @property {Tinted | null} tint  null for what the page begins with
 */

/** @param {Linked} linked */
function linkText({ head, view, pin, difference, shading, tint }) {
  const parts = new URLSearchParams();
  const round = (/** @type {number} */ value) => String(Math.round(value * 100) / 100);
  if (head !== null) parts.set("head", head);
  if (view !== null) {
    parts.set("q", round(view.query));
    parts.set("k", round(view.key));
    parts.set("span", round(view.span));
  }
  if (pin !== null) parts.set("pin", String(pin));
  if (difference) parts.set("diff", pairText(difference));
  if (shadingText(shading)) parts.set("colour", shadingText(shading));
  if (tint !== null) parts.set("tint", tint);
  return parts.toString();
}

/** What `linkText` wrote; what makes no sense in it is left out. @param {string} text @returns {Linked} */
function readLink(text) {
  const parts = new URLSearchParams(text);
  const [query, key, span] = ["q", "k", "span"].map((name) => Number(parts.get(name) ?? NaN));
  const pin = Number(parts.get("pin") ?? NaN);
  return {
    head: parts.get("head"),
    view: [query, key, span].every(Number.isFinite) ? { query, key, span } : null,
    pin: Number.isInteger(pin) && pin >= 0 ? pin : null,
    difference: pairOf(parts.get("diff") ?? ""),
    shading: shadingOf(parts.get("colour") ?? ""),
    tint: TINTS.find((one) => one === parts.get("tint")) ?? null,
  };
}

/** @type {Measure[]} */
const MEASURES = ["mass", "ratio"];

/** `0-1`, or `0-1-ratio`. @param {Pair} pair */
function pairText({ first, second, measure }) {
  return [first, second, ...(measure === "mass" ? [] : [measure])].join("-");
}

/** What `pairText` wrote. @param {string} text @returns {Pair | null} */
function pairOf(text) {
  const found = /^(\d{1,3})-(\d{1,3})(-ratio)?$/.exec(text);
  return found && { first: Number(found[1]), second: Number(found[2]), measure: found[3] ? "ratio" : "mass" };
}

/** @param {string} first @param {string} second @param {Measure} measure */
function pairName(first, second, measure) {
  return `${first} ${measure === "mass" ? "−" : "÷"} ${second}`;
}
