// The stages that make a weight of a dot product, by the recipe that a map carries (see
// `freeatten_core.analysis.map.recipe`): the page's only formulas.

/**
 * @typedef {{positivity: "exp"|"softplus"|"sigmoid"|"relu", power: number | null,
 *   softcap: number | null}} Computed
 * @typedef {{scale: number, bias: number, gain: number, out: number, rise: number}} RowRecipe
 */

/** `f` of the score. @type {Record<string, (score: number) => number>} */
const POSITIVITY = {
  exp: Math.exp,
  softplus: (score) => Math.max(score, 0) + Math.log1p(Math.exp(-Math.abs(score))),
  sigmoid: (score) => 1 / (1 + Math.exp(-score)),
  relu: (score) => Math.max(score, 0),
};

/** A score within its bound, if it has one. @param {number} score @param {number | null} softcap */
function bounded(score, softcap) {
  return softcap === null ? score : softcap * Math.tanh(score / softcap);
}

/**
 * A row's weights: (dot product, key) => weight, below 0 for an exact zero.
 * @param {Computed} computed @param {RowRecipe} row @param {ArrayLike<number>} keyScale
 * @param {(key: number) => number} apart  what the score gains by the distance of a key
 * @param {((key: number) => number) | null} forgotten  the logarithm of what a gate keeps of a key
 */
function weightFormula({ positivity, power, softcap }, { scale, bias, gain, out, rise }, keyScale, apart,
  forgotten) {
  const positive = POSITIVITY[positivity];
  const score = (/** @type {number} */ dot, /** @type {number} */ key) =>
    bounded(scale * keyScale[key] * dot, softcap) + bias + apart(key);
  const share = (/** @type {number} */ dot, /** @type {number} */ key) => {
    if (!forgotten) return gain * positive(score(dot, key));
    if (positivity === "exp") return gain * positive(score(dot, key) + forgotten(key));
    return gain * positive(score(dot, key)) * Math.exp(forgotten(key));
  };
  if (power === null) return share;
  return (/** @type {number} */ dot, /** @type {number} */ key) => {
    const above = share(dot, key) - rise;
    return above > 0 ? out * above ** power : -1;
  };
}

/**
 * Weights of stick-breaking: `scores` of a block of keys become weights, from the last to the
 * first; `left` is the logarithm of what the keys behind the block left.
 * @param {Float64Array} scores  −Infinity where a key takes nothing
 * @param {number} left
 */
function breakSticks(scores, left) {
  for (let at = scores.length - 1; at >= 0; at -= 1) {
    const score = scores[at];
    left -= POSITIVITY.softplus(score);
    scores[at] = Math.exp(score + left);
  }
}
