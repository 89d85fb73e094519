// What other scripts may use, and the start of a page that carries its maps.

const STATE_DELAY = 150;

/** The maps of this page, decoded when first shown. @param {any} page @returns {MapEntry[]} */
function carried(page) {
  return page.maps.map((/** @type {any} */ map, /** @type {number} */ at) => ({
    name: map.name,
    head: map.head,
    load: async () => {
      const holder = /** @type {HTMLElement} */ (document.getElementById(`freeatten-map-${at}`));
      const arrays = await unpacked(holder.textContent ?? "", map.directory);
      holder.textContent = ""; // the arrays are kept, the text would double the memory
      return new PayloadSource(arrays, map.metadata);
    },
  }));
}

/**
 * Keeps a view in the address, which goes before the page's own. Where it comes to rest is an entry
 * of the history: the browser's way back undoes it.
 * @param {Options} options
 */
function linked(options) {
  let timer = 0;
  let isFirst = true;
  const hash = () => location.hash.slice(1);
  const write = (/** @type {string} */ state) => {
    clearTimeout(timer);
    const before = hash();
    timer = setTimeout(() => {
      if (before !== hash()) return; // a link that was followed meanwhile goes before it
      if (state !== before) history[isFirst ? "replaceState" : "pushState"](null, "", `#${state}`);
      isFirst = false;
    }, STATE_DELAY);
  };
  return { ...options, state: hash() || options.state, onState: write };
}

/** Starts the page. */
function start() {
  const root = document.getElementById("freeatten-root");
  const data = document.getElementById("freeatten-page");
  if (!root || !data) return null;
  const page = JSON.parse(data.textContent ?? "");
  document.documentElement.dataset.freeatten = "page";
  const { title, tokens, difference, about, command, state } = page;
  const caption = () => [about, command && `Made by ${command}`].filter(Boolean);
  const pair = difference && { first: difference[0], second: difference[1], measure: MEASURES[0] };
  const options = { maps: carried(page), title, tokens, difference: pair, state, caption };
  const view = new MapView(root, linked(options));
  view.ready.catch((error) => {
    root.append(element("p", { class: "fa-error", role: "alert", text: `The maps could not be read: ${error}` }));
  });
  window.addEventListener("hashchange", () => view.restore(location.hash.slice(1)));
  return view;
}

const page = start();

/** @type {any} */ (window).freeatten = {
  MapView,
  Sheet,
  around,
  PayloadSource,
  TextPane,
  DifferenceSource,
  unpacked,
  sharedScale,
  thumbnail,
  largest,
  tokenText,
  page,
  weight: (/** @type {number} */ map, /** @type {number} */ query, /** @type {number} */ key) =>
    page?.weight(map, query, key),
};
