// Colours: from a byte of the log scale, or from octaves of difference, to a pixel.

/** @typedef {[number, number, number]} Rgb */
/** @typedef {{floor: number, top: number}} LogScale  log2 of the weights at both ends */

/** Viridis at every eighth: even steps for every kind of colour vision, and in grey. @type {Rgb[]} */
const SEQUENTIAL = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
  [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
];

/** Blue (the second is larger) to orange (the first is); the middle is the paper. */
const DIVERGING = {
  /** @type {Rgb[]} */
  light: [[8, 62, 125], [52, 130, 205], [176, 207, 236], [246, 246, 246],
    [252, 212, 160], [226, 126, 20], [138, 62, 0]],
  /** @type {Rgb[]} */
  dark: [[170, 212, 255], [66, 146, 226], [30, 68, 108], [30, 34, 40],
    [104, 62, 16], [222, 126, 20], [255, 210, 150]],
};

/** A difference of this many octaves, either way, has the strongest colour. */
const OCTAVES = 8;

/** @param {Rgb[]} anchors @param {number} fraction 0 to 1 @returns {Rgb} */
function ramp(anchors, fraction) {
  const at = Math.min(Math.max(fraction, 0), 1) * (anchors.length - 1);
  const low = Math.min(Math.floor(at), anchors.length - 2);
  const part = at - low;
  return /** @type {Rgb} */ (
    anchors[low].map((value, index) => value + part * (anchors[low + 1][index] - value))
  );
}

/** @param {Rgb} rgb @returns {number} an opaque pixel of ImageData, as a little-endian word */
function pixel([red, green, blue]) {
  return ((255 << 24) | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red)) >>> 0;
}

/** The pixel of a colour of the style sheet, `#rrggbb`. @param {string} colour */
function wordOf(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return pixel([red, green, blue]);
}

/** @param {Rgb} rgb */
function css([red, green, blue]) {
  return `rgb(${Math.round(red)}, ${Math.round(green)}, ${Math.round(blue)})`;
}

/** The scale that holds all of them. @param {LogScale[]} scales @returns {LogScale} */
function sharedScale(scales) {
  return {
    floor: Math.min(...scales.map((scale) => scale.floor)),
    top: Math.max(...scales.map((scale) => scale.top)),
  };
}

/**
 * A pixel for every byte of a map's own scale, coloured on the shared one.
 * @param {LogScale} own @param {LogScale} shared @returns {Uint32Array}
 */
function byteColours(own, shared) {
  return Uint32Array.from({ length: 256 }, (_, code) => {
    const log2 = own.floor + (code / 255) * (own.top - own.floor);
    return pixel(ramp(SEQUENTIAL, code ? (log2 - shared.floor) / (shared.top - shared.floor) : 0));
  });
}

/** A pixel for every step of a difference, from the strongest blue on. @param {"light"|"dark"} theme */
function differenceColours(theme) {
  return Uint32Array.from({ length: 256 }, (_, step) => pixel(ramp(DIVERGING[theme], step / 255)));
}

/** @param {number} octaves @returns {number} the index into `differenceColours` */
function octaveStep(octaves) {
  return Math.min(255, Math.max(0, Math.round(127.5 + (octaves / OCTAVES) * 127.5)));
}

/** On a square-root scale: a hundredth of all that there is has a tenth of the colour. */
function massStep(/** @type {number} */ mass, /** @type {number} */ full) {
  const part = Math.sign(mass) * Math.sqrt(Math.abs(mass) / full);
  return Math.min(255, Math.max(0, Math.round(127.5 + part * 127.5)));
}

/** The largest weight that the scale holds. @param {LogScale} scale */
function fullMass(scale) {
  return 2 ** scale.top;
}
