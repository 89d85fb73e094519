// The view: which square of the matrix is looked at. Plain values and functions of them.

/**
 * @typedef {{query: number, key: number, span: number}} View
 * The upper left corner and the side, in tokens; fractions allowed.
 */

/** The closest view, in tokens. */
const CLOSEST = 4;

/** @param {number} extent tokens of the longer side @returns {View} */
function wholeView(extent) {
  return { query: 0, key: 0, span: Math.max(extent, CLOSEST) };
}

/** @param {View} view @param {number} extent @returns {View} inside the matrix */
function clamped(view, extent) {
  const side = Math.max(extent, CLOSEST);
  const span = Math.min(Math.max(view.span, CLOSEST), side);
  const inside = (/** @type {number} */ start) => Math.min(Math.max(start, 0), side - span);
  return { query: inside(view.query), key: inside(view.key), span };
}

/** Larger spans by `factor`, with one token staying where it is drawn. */
function zoomed(/** @type {View} */ view, /** @type {number} */ factor,
  /** @type {{query: number, key: number}} */ about, /** @type {number} */ extent) {
  const span = Math.min(Math.max(view.span * factor, CLOSEST), Math.max(extent, CLOSEST));
  const ratio = span / view.span;
  return clamped({
    query: about.query - (about.query - view.query) * ratio,
    key: about.key - (about.key - view.key) * ratio,
    span,
  }, extent);
}

/** @param {View} view @param {number} queries @param {number} keys @param {number} extent */
function panned(view, queries, keys, extent) {
  return clamped({ ...view, query: view.query + queries, key: view.key + keys }, extent);
}

/** The same size, with a token in the middle. */
function centred(/** @type {View} */ view, /** @type {number} */ query, /** @type {number} */ key,
  /** @type {number} */ extent) {
  const half = view.span / 2;
  return clamped({ query: query + 0.5 - half, key: key + 0.5 - half, span: view.span }, extent);
}

/** @param {View} view */
function middle(view) {
  return { query: view.query + view.span / 2, key: view.key + view.span / 2 };
}

/** What a zoom without a pointer keeps in place: the cross where it is in view, else the middle. */
function kept(/** @type {View} */ view, /** @type {{query: number, key: number} | null} */ cross) {
  const isIn = (/** @type {number} */ at, /** @type {number} */ start) => at >= start && at < start + view.span;
  if (!cross || !isIn(cross.query, view.query) || !isIn(cross.key, view.key)) return middle(view);
  return { query: cross.query + 0.5, key: cross.key + 0.5 };
}

/** @param {View} view @param {number} extent */
function isWhole(view, extent) {
  return view.span >= extent;
}
