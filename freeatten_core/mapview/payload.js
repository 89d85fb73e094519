// The payload of a page: base64 of deflated arrays, to typed arrays.

/** @type {Record<string, (buffer: ArrayBuffer, offset: number, size: number) => any>} */
const READERS = {
  uint8: (buffer, offset, size) => new Uint8Array(buffer, offset, size),
  int32: (buffer, offset, size) => new Int32Array(buffer, offset, size),
  float32: (buffer, offset, size) => new Float32Array(buffer, offset, size),
  float16: (buffer, offset, size) => fromHalf(new Uint16Array(buffer, offset, size)),
};

/** @param {Uint16Array} halves @returns {Float32Array} */
function fromHalf(halves) {
  const values = new Float32Array(halves.length);
  const table = halfTable();
  for (let at = 0; at < halves.length; at += 1) values[at] = table[halves[at]];
  return values;
}

/** @type {Float32Array | undefined} */
let halfValues;

/** The value of every float16. */
function halfTable() {
  halfValues ??= Float32Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
  return halfValues;
}

/** @param {string} text base64 of a zlib stream @returns {Promise<ArrayBuffer>} */
function inflated(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/**
 * @param {string} text
 * @param {{name: string, dtype: string, shape: number[], offset: number}[]} directory
 * @returns {Promise<Arrays>}
 */
async function unpacked(text, directory) {
  const buffer = await inflated(text);
  /** @type {Arrays} */
  const arrays = {};
  for (const { name, dtype, shape, offset } of directory) {
    const size = shape.reduce((product, side) => product * side, 1);
    arrays[name] = { data: READERS[dtype](buffer, offset, size), shape };
  }
  return arrays;
}
