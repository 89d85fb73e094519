// A link: what of the maps is shown, as text.

/**
 * @typedef {object} Linked
 * @property {string | null} head  null where there is only one, or none was named
 * @property {View | null} view  null for the whole map
 * @property {number | null} pin
 * @property {[number, number] | null} difference
 */

/** @param {Linked} linked */
function linkText({ head, view, pin, difference }) {
  const parts = new URLSearchParams();
  const round = (/** @type {number} */ value) => String(Math.round(value * 100) / 100);
  if (head !== null) parts.set("head", head);
  if (view !== null) {
    parts.set("q", round(view.query));
    parts.set("k", round(view.key));
    parts.set("span", round(view.span));
  }
  if (pin !== null) parts.set("pin", String(pin));
  if (difference) parts.set("diff", difference.join("-"));
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
  };
}

/** @param {string} text `0-1` @returns {[number, number] | null} */
function pairOf(text) {
  const found = /^(\d{1,3})-(\d{1,3})$/.exec(text);
  return found ? [Number(found[1]), Number(found[2])] : null;
}
