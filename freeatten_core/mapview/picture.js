// The current view as a sheet: the panels where they stand, with their names, legend and caption.

const PICTURE_NAME = 20;

/**
 * @param {Panel[]} panels @param {string} title @param {string[]} caption
 * @param {{shared: LogScale, shading: Shading, range: LogScale}} colours @param {Look} look @returns {Sheet}
 */
function picture(panels, title, caption, { shared, shading, range }, look) {
  const boxes = panels.map((panel) => panel.canvas.getBoundingClientRect());
  const box = around(boxes);
  const sheet = new Sheet(box.width, look);
  sheet.words(title, { size: 17, bold: true });
  const top = sheet.y + PICTURE_NAME;
  panels.forEach((panel, at) => {
    const { left, top: above, width, height } = boxes[at];
    const place = { x: left - box.left, y: above - box.top + top, width, height };
    sheet.text(place.x, place.y - PICTURE_NAME + 3, `${panel.name}${panel.rough.textContent}`, { size: 13, bold: true });
    sheet.picture(panel.canvas, place);
  });
  sheet.y = top + box.height + 8;
  const hidden = shading.least ? `; below ${number(shading.least)} nothing is shown` : "";
  sheet.words(`weight (${shading.kind} scale); hatched: not visible${hidden}`);
  sheet.colours(SEQUENTIAL, shadedTicks(shading, range));
  const difference = panels.map(({ source }) => source).find((one) => one instanceof DifferenceSource);
  if (difference) {
    sheet.words("difference: orange where the first is larger, blue where the second is");
    sheet.colours(DIVERGING[look.theme], differenceTicks(difference.measure, shared));
  }
  for (const text of caption) sheet.words(text, { color: look.soft });
  return sheet;
}
