// Line charts in the page's colours.

const LINE_CHART = { displayModeBar: false, showSendToCloud: false, scrollZoom: false, doubleClick: false, responsive: true };

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--fa-${name}`).trim();
  return { text: of("text"), soft: of("soft"), line: of("line"), accent: of("accent") };
}

/** Draws lines: `{name, x, y, color, dash}` each; `mark` is a position with a dashed line, `range` both ends of x. */
function lineChart(root, { lines, xTitle, yTitle, height, mark = null, log = false, markText = "", range = null }) {
  const look = colours();
  const axis = { gridcolor: look.line, linecolor: look.line, zerolinecolor: look.line };
  const font = { color: look.text, size: 12, family: getComputedStyle(document.body).fontFamily };
  const at = { x0: mark, x1: mark, y0: 0, y1: 1, yref: "paper" };
  const layout = {
    height, showlegend: false, hovermode: "x unified", dragmode: false, font,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: getComputedStyle(document.documentElement).getPropertyValue("--fa-raised").trim(), font },
    margin: { l: yTitle ? 76 : 56, r: 12, t: 10, b: 44 },
    xaxis: { ...axis, title: { text: xTitle }, tickformat: ",d", fixedrange: true, ...(range && { range }) },
    yaxis: { ...axis, title: { text: yTitle }, type: log ? "log" : "linear", fixedrange: true, exponentformat: "power" },
    shapes: mark === null ? [] : [{ type: "line", ...at, line: { color: look.soft, dash: "dash", width: 1.3 } }],
    annotations: mark === null || !markText ? [] : [{
      text: markText, x: mark, y: 1, yref: "paper", xanchor: "left", yanchor: "top", showarrow: false, font: { ...font, color: look.soft },
    }],
  };
  const traces = lines.map(({ name, x, y, color, dash }) => ({
    type: "scatter", mode: "lines", name: plain(name), x, y, line: { color: color ?? look.accent, dash, width: 2 },
    hovertemplate: "%{y:.4g}",
  }));
  return window.Plotly.react(root, traces, layout, LINE_CHART);
}

/** Text that Plotly takes for markup, as text. */
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** A share or a number with four digits. */
function short(value) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3))).replace("-", "−");
}
