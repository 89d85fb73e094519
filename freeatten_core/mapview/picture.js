// The current view as a PNG: the panels where they stand, with their names and the legend.

const PICTURE_PADDING = 16;
const PICTURE_TITLE = 34;
const PICTURE_LEGEND = 62;

/**
 * @param {Panel[]} panels @param {string} title
 * @param {LogScale} scale @param {Look} look @returns {HTMLCanvasElement}
 */
function picture(panels, title, scale, look) {
  const box = around(panels.map((panel) => panel.root.getBoundingClientRect()));
  const ratio = Math.max(window.devicePixelRatio || 1, 1);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round((box.width + 2 * PICTURE_PADDING) * ratio);
  canvas.height = Math.round((box.height + PICTURE_TITLE + PICTURE_LEGEND + 2 * PICTURE_PADDING) * ratio);
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.scale(ratio, ratio);
  pen.fillStyle = look.paper;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.translate(PICTURE_PADDING, PICTURE_PADDING);
  pen.fillStyle = look.text;
  pen.textBaseline = "top";
  pen.font = `bold 17px ${FONT}`;
  pen.fillText(title, 0, 0, box.width);
  for (const panel of panels) {
    const place = panel.canvas.getBoundingClientRect();
    const [x, y] = [place.left - box.left, place.top - box.top + PICTURE_TITLE];
    pen.font = `bold 13px ${FONT}`;
    pen.fillText(panel.name, x, y - 18, place.width);
    pen.drawImage(panel.canvas, x, y, place.width, place.height);
  }
  pen.font = `12px ${FONT}`;
  pen.fillText(pictureWords(panels), 0, box.height + PICTURE_TITLE + 8, box.width);
  pictureLegend(pen, scale, look, box.height + PICTURE_TITLE + 8, Math.min(box.width, 520));
  return canvas;
}

/** What the colours are. @param {Panel[]} panels */
function pictureWords(panels) {
  const both = panels.map(({ source }) => source).find((source) => source instanceof DifferenceSource);
  const words = "weight (log scale); hatched: not visible";
  if (!both) return words;
  return `${words}; difference: orange where the first is larger, blue where the second is`;
}

/** The box around boxes. @param {DOMRect[]} boxes */
function around(boxes) {
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const width = Math.max(...boxes.map((box) => box.right)) - left;
  const height = Math.max(...boxes.map((box) => box.bottom)) - top;
  return { left, top, width, height };
}

/** @param {CanvasRenderingContext2D} pen @param {LogScale} scale @param {Look} look
 * @param {number} y @param {number} width */
function pictureLegend(pen, scale, look, y, width) {
  const colours = pen.createLinearGradient(0, 0, width, 0);
  SEQUENTIAL.forEach((rgb, at) => colours.addColorStop(at / (SEQUENTIAL.length - 1), css(rgb)));
  pen.fillStyle = colours;
  pen.fillRect(0, y + 18, width, 10);
  pen.fillStyle = look.soft;
  for (const { at, text } of weightTicks(scale)) {
    pen.textAlign = at > 0.97 ? "right" : "center";
    pen.fillText(text, at * width, y + 32);
  }
}

/** @param {HTMLCanvasElement} canvas @param {string} name @returns {Promise<void>} */
function saved(canvas, name) {
  return new Promise((resolve) => {
    canvas.toBlob((blob) => {
      if (blob) {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(blob);
        link.download = name;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      }
      resolve();
    }, "image/png");
  });
}
