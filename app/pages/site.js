// The static site: two views of stored data. Data files are scripts, because a page opened from
// disk may not fetch; each adds an entry to `freeattenData`.

const MOVE_DELAY = 150;
const data = window.freeattenData;
const site = data.site;

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

/** How many links are being shown: what comes of them is no step of the reader's. */
let following = 0;

/** Keeps a view in the address, and in its tab for the way back; a step can be undone there. */
function remember(tab, state) {
  const hash = `#${[tab, state].filter(Boolean).join("&")}`;
  byId(`${tab}-tab`).setAttribute("href", hash);
  if (hash !== location.hash) history[following ? "replaceState" : "pushState"](null, "", hash);
}

// Light and dark

const dark = matchMedia("(prefers-color-scheme: dark)");
let wanted = chosenTheme();

function theme() {
  return wanted ?? (dark.matches ? "dark" : "light");
}

function themed() {
  document.documentElement.dataset.theme = theme();
  maps?.then((view) => view.switchTheme(theme()));
  compare.draw();
}

// Compare

const compare = new Compare({
  ...site,
  read: (id) => read(`compare-${id.replace("/", "-")}`),
  library: () => run("plotly.min.js"),
  theme,
  remember: (state) => remember("compare", state),
  linked: () => "#map",
});

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

let moving = 0;

/** While a view moves the address waits: a move is one entry of the history. */
function moved(state) {
  clearTimeout(moving);
  const { hash } = location; // a link that is followed meanwhile goes before it
  moving = setTimeout(() => {
    if (hash === location.hash && address().tab === "map") remember("map", state);
  }, MOVE_DELAY);
}

async function openMaps(state) {
  const tokens = await read("tokens");
  freeatten.page = new freeatten.MapView(byId("maps"), {
    maps: entries(), tokens, state, theme: theme(), title: byId("map-title").textContent,
    caption: () => [byId("map-about").textContent],
    onState: moved,
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
    `${sentence(`Not everything could be shown: ${error.message}`)} Reload the page to try again.`));
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
  titled(tab);
  following += 1;
  try {
    await (tab === "map" ? map(state) : compare.show(state));
  } finally {
    following -= 1;
  }
  if (tab === "compare") await compare.enliven();
}

function start() {
  byId("map-about").textContent = `${site.text}, read by four models that differ in nothing but the attention.`;
  byId("chosen").append(...site.choices.map(({ name, rule, maps: list }) => table({
    caption: `${name}: ${rule}`,
    header: ["head", "its mean"],
    rows: list.map(({ variant, where, value }) => [variant, where, value]),
  })));
  byId("theme").addEventListener("click", () => {
    wanted = theme() === "dark" ? "light" : "dark";
    keepTheme(wanted);
    themed();
  });
  dark.addEventListener("change", themed);
  window.addEventListener("hashchange", () => show().catch(failed));
  return show();
}

window.freeattenSite = { ready: start() };
window.freeattenSite.ready.catch(failed);
