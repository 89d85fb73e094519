// The app: tabs, the address, light and dark.

const TABS = ["compare", "map", "entropy", "stages", "retrieval", "about"];
const INSIDE = ["map", "entropy", "stages"];
const SETUP_KEYS = ["models", "text", "len", "seed", "digest"];
const FOREIGN = "This link is of a text that only the browser has in which it was pasted. Paste it here, or choose another text.";
const dark = matchMedia("(prefers-color-scheme: dark)");
let wanted = null;

function theme() {
  return wanted ?? (dark.matches ? "dark" : "light");
}

/** `map&models=…&q=…`: the tab, and its state. */
function address() {
  const [name, ...rest] = location.hash.slice(1).split("&");
  return { tab: TABS.includes(name) ? name : "compare", parts: new URLSearchParams(rest.join("&")) };
}

class App {
  constructor() {
    this.tabs = {};
    this.tab = "";
  }

  async start() {
    document.documentElement.dataset.freeatten = "app";
    this.themed();
    byId("theme").addEventListener("click", () => {
      wanted = theme() === "dark" ? "light" : "dark";
      this.themed();
    });
    dark.addEventListener("change", () => this.themed());
    window.addEventListener("hashchange", () => this.follow());
    await this.follow();
  }

  async follow() {
    try {
      await this.show();
      byId("fault").replaceChildren();
    } catch (error) {
      byId("fault").replaceChildren(make("p", { class: "site-error" }, `This could not be shown: ${error.message}.`));
    }
  }

  async show() {
    const { tab, parts } = address();
    this.tab = tab;
    for (const name of TABS) {
      byId(name).hidden = name !== tab;
      const link = byId(`${name}-tab`);
      if (name === tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    byId("setup").hidden = !INSIDE.includes(tab);
    await loadComponent(); // with the colours of the page
    if (tab === "compare") await this.showCompare(parts);
    else if (tab === "retrieval") await showRetrieval(theme());
    else if (tab === "about") await showAbout();
    else await this.showInside(parts);
  }

  async showCompare(parts) {
    this.tabs.compare ??= call("results").then((found) => new Compare({
      ...found,
      read: (name) => once("comparison", { name }),
      library: loadPlotly,
      theme,
      remember: (state) => this.remember("compare", new URLSearchParams(state)),
    })).catch((error) => {
      this.tabs.compare = null;
      throw error;
    });
    await (await this.tabs.compare).show(parts);
  }

  async showInside(parts) {
    this.inside ??= call("choices").then((choices) => this.build(choices)).catch((error) => {
      this.inside = null;
      throw error;
    });
    await this.inside;
    const isHere = this.setup.restore(parts);
    if (!isHere) {
      this.setup.say(FOREIGN, true);
    } else if (this.setup.isCurrent) {
      await this.tabs[this.tab].show(this.own(parts));
    } else {
      this.pending = this.own(parts);
      await this.setup.run();
    }
  }

  build(choices) {
    const { statistics } = choices;
    this.setup = new Setup(choices, () => this.analysed());
    const remember = (tab) => () => { if (this.tab === tab) this.remember(tab, this.stateOf(tab)); };
    this.tabs.map = new MapTab(this.setup, statistics, theme, remember("map"));
    this.tabs.entropy = new EntropyTab(this.setup, statistics, remember("entropy"));
    this.tabs.stages = new StagesTab(this.setup, remember("stages"));
  }

  /** What the setup has analysed is shown in the tab that is open. */
  async analysed() {
    if (!INSIDE.includes(this.tab)) return;
    const parts = this.pending ?? new URLSearchParams();
    this.pending = null;
    await this.tabs[this.tab].show(parts);
    this.remember(this.tab, this.stateOf(this.tab));
  }

  /** The part of a link that is the tab's own. */
  own(parts) {
    return new URLSearchParams([...parts].filter(([name]) => !SETUP_KEYS.includes(name)));
  }

  stateOf(tab) {
    return new URLSearchParams([...this.setup.current, ...this.tabs[tab].state()]);
  }

  /** Keeps a view in the address, and in the tabs for the way back. */
  remember(tab, parts) {
    const hash = `#${[tab, parts.toString()].filter(Boolean).join("&")}`;
    byId(`${tab}-tab`).setAttribute("href", hash);
    if (INSIDE.includes(tab)) this.shareSetup(tab);
    if (this.tab === tab && hash !== location.hash) history.replaceState(null, "", hash);
  }

  /** The other tabs that look inside go on with the same models and text. */
  shareSetup(tab) {
    for (const other of INSIDE) {
      if (other === tab) continue;
      const link = byId(`${other}-tab`);
      const own = this.own(new URLSearchParams(link.getAttribute("href").split("&").slice(1).join("&")));
      link.setAttribute("href", `#${other}&${new URLSearchParams([...this.setup.current, ...own])}`);
    }
  }

  themed() {
    document.documentElement.dataset.theme = theme();
    this.tabs.compare?.then((compare) => compare.draw());
    for (const name of INSIDE) this.tabs[name]?.themed();
    if (this.tab === "retrieval") showRetrieval(theme());
  }
}

window.freeattenApp = {
  start(element, functions) {
    server = functions;
    const app = new App();
    window.freeattenApp.ready = app.start();
  },
};
