// The current view as a sheet: the panels where they stand, with their names, legend and caption.

const PICTURE_NAME = 20;

/**
 * @param {Panel[]} panels @param {string} title @param {string[]} caption
 * @param {LogScale} scale @param {Look} look @returns {Sheet}
 */
function picture(panels, title, caption, scale, look) {
  const boxes = panels.map((panel) => panel.canvas.getBoundingClientRect());
  const box = around(boxes);
  const sheet = new Sheet(box.width, look);
  sheet.words(title, { size: 17, bold: true });
  const top = sheet.y + PICTURE_NAME;
  panels.forEach((panel, at) => {
    const { left, top: above, width, height } = boxes[at];
    const place = { x: left - box.left, y: above - box.top + top, width, height };
    sheet.text(place.x, place.y - PICTURE_NAME + 3, panel.name, { size: 13, bold: true });
    sheet.picture(panel.canvas, place);
  });
  sheet.y = top + box.height + 8;
  sheet.words("weight (log scale); hatched: not visible");
  sheet.colours(SEQUENTIAL, weightTicks(scale));
  const difference = panels.map(({ source }) => source).find((one) => one instanceof DifferenceSource);
  if (difference) {
    sheet.words("difference: orange where the first is larger, blue where the second is");
    sheet.colours(DIVERGING[look.theme], differenceTicks(difference.measure, scale));
  }
  for (const text of caption) sheet.words(text, { color: look.soft });
  return sheet;
}
