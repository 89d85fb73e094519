// The static site: two views of stored data. Data files are scripts, because a page opened from
// disk may not fetch; each adds an entry to `freeattenData`.
(() => {
"use strict";

const WIDE = 1060;
const STACKED = 620;
const CHART = { displayModeBar: false, showSendToCloud: false, scrollZoom: false, doubleClick: false };
/** Lengths of a line's dashes, in its widths. */
const DASHES = { solid: "", dot: "2 3", dash: "6 4", longdash: "10 4", dashdot: "7 3 2 3", longdashdot: "10 3 2 3" };
const KINDS = { hurts: ["▲", "site-hurts"], uses: ["▼", "site-uses"] };

const data = window.freeattenData;
const site = data.site;
const byId = (id) => document.getElementById(id);

/** An element; texts never become markup. */
function make(tag, attributes = {}, ...children) {
  const svg = tag === "svg" || tag === "line" || tag === "text";
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Files

const loading = new Map();

/** Runs a script of this folder, once. */
function run(path) {
  const started = loading.get(path) ?? new Promise((resolve, reject) => {
    const script = make("script", { src: path });
    script.onload = () => resolve();
    script.onerror = () => {
      loading.delete(path);
      reject(new Error(`${path} could not be read`));
    };
    document.head.append(script);
  });
  loading.set(path, started);
  return started;
}

/** What a data file holds. */
async function read(name) {
  await run(`data/${name}.js`);
  return data[name];
}

// The address: `compare&result=…&all=1` or `map&…` with the view of the maps

function address() {
  const [tab, ...rest] = location.hash.slice(1).split("&");
  return { tab: tab === "map" ? "map" : "compare", state: rest.join("&") };
}

/** Keeps a view in the address, and in its tab for the way back. */
function remember(tab, state) {
  const hash = `#${[tab, state].filter(Boolean).join("&")}`;
  byId(`${tab}-tab`).setAttribute("href", hash);
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

// Light and dark

const dark = matchMedia("(prefers-color-scheme: dark)");
let wanted = null;

function theme() {
  return wanted ?? (dark.matches ? "dark" : "light");
}

function themed() {
  document.documentElement.dataset.theme = theme();
  maps?.then((view) => view.switchTheme(theme()));
  drawChart();
}

// Compare

let shown = null;

function table({ caption, header, rows }) {
  const head = make("tr", {}, make("td"), ...header.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map(([label, ...cells]) => make("tr", {},
    make("th", { scope: "row" }, label), ...cells.map((text) => make("td", {}, text))));
  return make("div", {}, make("p", { class: "site-caption" }, caption),
    make("div", { class: "site-scroll", tabindex: "0", role: "group", "aria-label": caption },
      make("table", { "aria-label": caption }, make("thead", {}, head), make("tbody", {}, ...body))));
}

/** How a variant is drawn in the charts. */
function swatch({ color, dash, sign }) {
  return make("svg", { width: "40", height: "16", "aria-hidden": "true" },
    make("line", { x1: "1", x2: "39", y1: "8", y2: "8", stroke: color, "stroke-width": "2.2", "stroke-dasharray": DASHES[dash] ?? "" }),
    make("text", { x: "20", y: "13", "text-anchor": "middle", fill: color, "font-size": "15" }, sign));
}

function line(row) {
  const [mark, style] = KINDS[row.kind] ?? ["", ""];
  return make("li", {}, swatch(row), make("span", { class: "site-name" }, row.label),
    make("span", { class: "site-loss" }, make("span", { class: "site-word" }, "loss "), row.loss),
    make("span", { class: `site-verdict ${style}` }, `${mark} ${row.verdict} (Δ\u00a0${row.delta})`.trim()));
}

async function compare(state) {
  const asked = new URLSearchParams(state);
  const known = site.results.map(({ id }) => id);
  const id = known.includes(asked.get("result")) ? asked.get("result") : known[0];
  byId("result").value = id;
  byId("all").checked = asked.get("all") === "1";
  await Promise.all([compared(id), run("plotly.min.js").then(drawChart)]);
}

async function compared(id) {
  const result = await read(`compare-${id}`);
  const rows = result[byId("all").checked ? "all" : "main"];
  byId("title").textContent = document.title = result.title;
  byId("answer").textContent = result.answer;
  byId("provenance").textContent = result.provenance;
  byId("command").textContent = result.command;
  byId("lines").replaceChildren(...rows.lines.map(line));
  byId("tables").replaceChildren(byId("tables").firstElementChild, ...rows.tables.map(table));
  byId("chart").setAttribute("aria-label", `Loss and Δ against context length. ${result.answer}`);
  shown = rows.figures;
  drawChart();
}

function layout(width) {
  if (width >= WIDE) return "wide";
  return width >= STACKED ? "stacked" : "phone";
}

/** Draws the figure that fits; its width is the page's. */
function drawChart() {
  const chart = byId("chart");
  const width = chart.clientWidth;
  if (!shown || !width || !window.Plotly) return;
  const name = layout(width);
  const figure = structuredClone(shown[theme()][name]);
  chart.dataset.drawn = `${name} ${theme()}`;
  window.Plotly.react(chart, figure.data, { ...figure.layout, width }, CHART);
}

function chosen() {
  const state = new URLSearchParams({ result: byId("result").value });
  if (byId("all").checked) state.set("all", "1");
  remember("compare", state.toString());
  return compared(byId("result").value);
}

function thumbnails() {
  const scale = freeatten.sharedScale(site.thumbnails.map((one) => one.scale));
  return site.thumbnails.map((one) => {
    const canvas = make("canvas", { role: "img", "aria-label": `where a head of ${one.label} looks` });
    freeatten.thumbnail(canvas, one, scale);
    const trained = make("i", { style: `top: ${one.trained * 100}%` });
    return make("figure", {}, make("a", { href: "#map" },
      make("div", { class: "site-picture" }, canvas, ...(one.trained < 1 ? [trained] : [])),
      make("figcaption", {}, one.label, make("span", {}, one.where))));
  });
}

// Maps

let maps = null;
const sources = new Map();

/** A map's source, made when it is first shown. */
function source(file) {
  const made = sources.get(file) ?? read(file).then(async ({ arrays, directory, metadata }) => {
    delete data[file]; // the arrays are kept, the text would double the memory
    return new freeatten.PayloadSource(await freeatten.unpacked(arrays, directory), metadata);
  });
  sources.set(file, made);
  return made;
}

/** How many maps of a head have come. */
function waiting(files) {
  let done = 0;
  const tell = () => {
    byId("map-status").textContent = done < files.length ? `Loading maps: ${done} of ${files.length}` : "";
  };
  tell();
  return () => { done += 1; tell(); };
}

function entries() {
  return site.choices.flatMap((choice) => {
    let count = null;
    return choice.maps.map(({ variant, where, file }) => ({
      name: `${variant} · ${where}`,
      head: choice.name,
      load: () => {
        count ??= waiting(choice.maps);
        return source(file).finally(count);
      },
    }));
  });
}

async function openMaps(state) {
  const tokens = await read("tokens");
  freeatten.page = new freeatten.MapView(byId("maps"), {
    maps: entries(), tokens, state, theme: theme(), title: byId("map-title").textContent,
    onState: (now) => { if (address().tab === "map") remember("map", now); },
  });
  await freeatten.page.ready;
  return freeatten.page;
}

async function map(state) {
  if (maps) {
    await (await maps).restore(state);
    return;
  }
  maps = openMaps(state);
  await maps;
}

function failed(error) {
  byId(address().tab).append(make("p", { class: "site-error", role: "alert" },
    `Not everything could be shown: ${error.message}. Reload the page to try again.`));
}

// The page

async function show() {
  const { tab, state } = address();
  for (const name of ["compare", "map"]) {
    byId(name).hidden = name !== tab;
    const link = byId(`${name}-tab`);
    if (name === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  await (tab === "map" ? map(state) : compare(state));
}

function start() {
  byId("result").append(...site.results.map(({ id, label }) => make("option", { value: id }, label)));
  byId("result").addEventListener("change", chosen);
  byId("all").addEventListener("change", chosen);
  byId("thumbnails").append(...thumbnails());
  byId("paper").append(table(site.paper));
  byId("map-about").textContent = `${site.text}, read by four models that differ in nothing but the attention.`;
  byId("chosen").append(...site.choices.map(({ name, rule, maps: list }) => table({
    caption: `${name}: ${rule}`,
    header: ["head", "its mean"],
    rows: list.map(({ variant, where, value }) => [variant, where, value]),
  })));
  byId("theme").addEventListener("click", () => {
    wanted = theme() === "dark" ? "light" : "dark";
    themed();
  });
  dark.addEventListener("change", themed);
  new ResizeObserver(drawChart).observe(byId("chart"));
  window.addEventListener("hashchange", () => show().catch(failed));
  return show();
}

window.freeattenSite = { ready: start() };
window.freeattenSite.ready.catch(failed);
})();
