// Downloads: charts as they stand with the words around them, and numbers one a line.

const HEADING = 20;

/**
 * Saves charts as `name.png` or `name.svg`. Each of `charts` has its `chart`, an element of Plotly,
 * and a `heading`; each of `lines` how it is drawn and what is said of it.
 */
async function saveCharts(name, kind, { title, about = "", charts, lines = [], caption }) {
  const style = getComputedStyle(document.documentElement);
  const of = (colour) => style.getPropertyValue(`--fa-${colour}`).trim();
  const boxes = charts.map(({ chart }) => chart.getBoundingClientRect());
  const box = freeatten.around(boxes);
  const sheet = new freeatten.Sheet(box.width, { paper: of("paper"), text: of("text"), soft: of("soft") });
  sheet.words(title, { size: 17, bold: true });
  if (about) sheet.words(about, { size: 13 });
  const top = sheet.y + HEADING;
  for (const [at, { chart, heading = "" }] of charts.entries()) {
    const { left, top: above, width, height } = boxes[at];
    const place = { x: left - box.left, y: above - box.top + top, width, height };
    if (heading) sheet.text(place.x, place.y - HEADING + 3, heading, { size: 13, bold: true });
    sheet.picture(await chartAsSvg(chart, width, height), place);
  }
  sheet.y = top + box.height + 6;
  for (const { color, dash, sign, text } of lines) sheet.entry({ color, dashes: DASHES[dash], sign }, text);
  sheet.y += 6;
  for (const text of caption.filter(Boolean)) sheet.words(text, { color: of("soft") });
  await sheet.save(name, kind, 2);
}

/** A chart of Plotly as SVG text, in the colours that it has. */
async function chartAsSvg(chart, width, height) {
  const figure = { data: chart.data, layout: { ...chart.layout, showlegend: false } };
  const address = await window.Plotly.toImage(figure, { format: "svg", width, height });
  return decodeURIComponent(address.slice(address.indexOf(",") + 1));
}

/** Saves lines of values under a caption, which a reader of CSV skips as comments. */
function saveValues(name, caption, lines) {
  const comments = caption.filter(Boolean).map((text) => `# ${text.replace(/[\r\n]+/g, " ")}\n`);
  save(comments.join("") + csvOf(lines), `${name}.csv`, "text/csv");
}
