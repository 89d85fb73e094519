// A whole map as a small picture that stands still.

/**
 * Draws a causal map, a pixel a cell; what is not visible stays clear.
 * @param {HTMLCanvasElement} canvas
 * @param {{codes: string, side: number, scale: LogScale, reach?: number}} map  `codes`: base64, row
 * after row; `reach`: cells before its own that a row sees at most
 * @param {LogScale} shared  the scale of all pictures that are compared
 */
function thumbnail(canvas, { codes, side, scale, reach = side }, shared) {
  const table = byteColours(scale, shared);
  const binary = atob(codes);
  canvas.width = side;
  canvas.height = side;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const data = context.createImageData(side, side);
  const pixels = new Uint32Array(data.data.buffer);
  for (let row = 0; row < side; row += 1) {
    const start = row * side;
    for (let at = start + Math.max(0, row - reach); at <= start + row; at += 1) pixels[at] = table[binary.charCodeAt(at)];
  }
  context.putImageData(data, 0, 0);
}
