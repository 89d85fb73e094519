// The app: tabs, the address, light and dark.

const TABS = ["compare", "map", "entropy", "stages", "retrieval", "use", "about"];
const INSIDE = ["map", "entropy", "stages"];
const SETUP_KEYS = ["models", "text", "len", "longest", "seed", "digest", "layers"];
/** Parts of a link that are places in one text. */
const PLACES = ["q", "k", "span", "pin", "position", "last", "from", "to"];
/** How far a place can be from what its link says, which has two digits behind the point. */
const ROUNDED = 0.05;
const dark = matchMedia("(prefers-color-scheme: dark)");
let wanted = chosenTheme();

function theme() {
  return wanted ?? (dark.matches ? "dark" : "light");
}

/** `map&models=…&q=…`: the tab, its state, and what of it is not here: a tab of another name. */
function address() {
  const [name, ...rest] = location.hash.slice(1).split("&");
  const isKnown = TABS.includes(name);
  const unmet = isKnown || !name ? [] : [`tab=${new URLSearchParams(`tab=${name}`).get("tab")}`];
  return { tab: isKnown ? name : "compare", parts: new URLSearchParams(rest.join("&")), unmet };
}

/** What the link of a tab says. */
function partsOf(tab) {
  return new URLSearchParams(byId(`${tab}-tab`).getAttribute("href").split("&").slice(1).join("&"));
}

/** Parts of a link that have other values than those that are shown. @returns {string[]} */
function unlike(parts, shown) {
  const isShown = (asked, value) => (typeof value === "number" ? Math.abs(Number(asked) - value) < ROUNDED : asked === value);
  return Object.entries(shown).filter(([name, value]) => parts.has(name) && !isShown(parts.get(name), value))
    .map(([name]) => `${name}=${parts.get(name)}`);
}

/** Scrolls the row of tabs, which on a phone is wider than the page, to one of them. */
function seeTab(link) {
  const row = link.parentElement;
  const [{ left, right }, box] = [link.getBoundingClientRect(), row.getBoundingClientRect()];
  row.scrollLeft += Math.min(0, left - box.left) + Math.max(0, right - box.right);
}

class App {
  constructor() {
    this.tabs = {};
    /** Tabs of what is stored, once they were opened. */
    this.stored = {};
    this.tab = "";
    /** How many links of a tab are being shown: what comes of them is no step of the reader's. */
    this.following = Object.fromEntries(TABS.map((name) => [name, 0]));
    /** How many times a tab is being filled: what it still shows is dimmed. */
    this.filling = Object.fromEntries(INSIDE.map((name) => [name, 0]));
  }

  async start() {
    this.themed();
    byId("theme").addEventListener("click", () => {
      wanted = theme() === "dark" ? "light" : "dark";
      keepTheme(wanted);
      this.themed();
    });
    dark.addEventListener("change", () => this.themed());
    this.share = new Share(() => this.tab);
    window.addEventListener("hashchange", () => this.follow());
    await this.follow();
  }

  async follow() {
    try {
      await this.settling(address().tab, () => this.show());
      if (this.tab === "compare") await this.compare.enliven();
      byId("fault").replaceChildren();
    } catch (error) {
      byId("fault").replaceChildren(make("p", { class: "site-error" }, sentence(`This could not be shown: ${error.message}`)));
    }
  }

  /** Does what a link or a job asks for. */
  async settling(tab, task) {
    this.following[tab] += 1;
    try {
      await task();
    } finally {
      this.following[tab] -= 1;
    }
  }

  async show() {
    const { tab, parts, unmet } = address();
    this.tab = tab;
    for (const name of TABS) {
      byId(name).hidden = name !== tab;
      const link = byId(`${name}-tab`);
      if (name === tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    titled(tab);
    if (tab !== "compare") byId("setup").hidden = !INSIDE.includes(tab);
    this.setup?.mark();
    seeTab(byId(`${tab}-tab`));
    if (tab === "compare") await this.showCompare(parts, unmet);
    else if (tab === "retrieval" || tab === "use") await this.showStored(tab);
    else if (tab === "about") await showAbout();
    else await this.showInside(parts);
  }

  async showCompare(parts, unmet) {
    this.tabs.compare ??= call("results").then((found) => this.buildCompare(found)).catch((error) => {
      this.tabs.compare = null;
      throw error;
    });
    await (await this.tabs.compare).show(parts, unmet);
  }

  buildCompare(found) {
    const compare = new Compare({
      ...found,
      read: (name) => once("comparison", { name }),
      library: loadPlotly,
      theme,
      remember: (state) => this.remember("compare", new URLSearchParams(state)),
      linked: (state) => `#${state}`,
      words: (result) => once("words", { result }),
      own: {
        label: "a text of your own",
        toggle: (isOwn) => {
          byId("setup").hidden = !isOwn;
          this.setup?.mark();
          for (const id of ["own-text", "story"]) byId(id).hidden = isOwn;
        },
        show: async (parts) => {
          await this.forms();
          this.setup.setFor(true);
          await this.scoring.show(parts);
        },
      },
    });
    this.compare = compare;
    return compare;
  }

  /** The form, and the tabs that it is for. */
  forms() {
    this.inside ??= call("choices").then((choices) => this.build(choices)).catch((error) => {
      this.inside = null;
      throw error;
    });
    return this.inside;
  }

  async showStored(tab) {
    const [found] = await Promise.all([once(tab), loadPlotly()]);
    this.stored[tab] ??= new Stored(`${tab}-shown`, found, theme);
    this.stored[tab].draw();
  }

  async showInside(parts) {
    await this.forms();
    this.setup.setFor(false);
    const isAsked = this.setup.isAsked(parts);
    if (!isAsked && !this.setup.restore(parts)) {
      this.setup.say(FOREIGN, true);
      this.setup.fold(true);
      return;
    }
    this.pending = { parts: this.own(parts), isLink: true };
    if (isAsked && this.setup.running) await this.setup.running;
    else if (isAsked && this.setup.isShown) await this.showPending();
    else await this.setup.run();
    this.setup.tellUnmet();
  }

  /** What the form says is asked for: the address says so at once. */
  submit() {
    if (this.tab === "compare") return this.scoring.run();
    const asked = this.setup.state();
    const own = this.tabs[this.tab].state();
    const isOther = ["text", "seed", "digest"].some((name) => asked.get(name) !== this.setup.shown.get(name));
    if (isOther) for (const name of PLACES) own.delete(name);
    this.pending = { parts: own, isLink: false };
    const run = this.setup.run();
    this.remember(this.tab, new URLSearchParams([...this.setup.current, ...own]));
    return this.settling(this.tab, () => run);
  }

  build(choices) {
    const { statistics } = choices;
    this.setup = new Setup(choices, {
      changed: () => this.analysed(), submit: () => this.submit(),
      gaveUp: () => { if (INSIDE.includes(this.tab)) this.remember(this.tab, this.stateOf(this.tab), false); },
    });
    this.scoring = new Scoring(this.setup, (...given) => this.compare.present(...given), (...given) => this.scored(...given));
    const remember = (tab) => () => { if (this.tab === tab) this.remember(tab, this.stateOf(tab)); };
    this.tabs.map = new MapTab(this.setup, statistics, theme, remember("map"));
    this.tabs.entropy = new EntropyTab(this.setup, statistics, remember("entropy"), () => this.own(partsOf("map")));
    this.tabs.stages = new StagesTab(this.setup, remember("stages"));
  }

  /** A text has been scored: the link says so, and the tabs that look inside go on with it. */
  scored(state, isStep) {
    this.remember("compare", new URLSearchParams([["result", OWN_RESULT], ...state]), isStep);
    if (this.tab !== "compare") return;
    const shared = new URLSearchParams([...state].filter(([name]) => SETUP_KEYS.includes(name)));
    shared.set("len", byId("length").value);
    this.shareSetup("compare", shared);
  }

  /** Shows in a tab what the setup has analysed; what it shows of something else is dimmed until then. */
  async fill(tab, parts) {
    this.filling[tab] += 1;
    byId(tab).ariaBusy = "true";
    try {
      await this.tabs[tab].show(parts);
    } finally {
      this.filling[tab] -= 1;
      if (!this.filling[tab]) byId(tab).ariaBusy = "false";
    }
  }

  /** What the setup has analysed is shown in the tab that is open. */
  async analysed() {
    if (!INSIDE.includes(this.tab)) return;
    await this.showPending();
    this.remember(this.tab, this.stateOf(this.tab), false);
  }

  /** Shows the tab's own part of what was asked for, and notes what of a link is shown otherwise. */
  async showPending() {
    const { parts, isLink } = this.pending ?? { parts: new URLSearchParams(), isLink: false };
    this.pending = null;
    const { tab } = this;
    await this.fill(tab, new URLSearchParams(parts));
    if (isLink) this.setup.unmet.push(...unlike(parts, this.tabs[tab].values()));
  }

  /** The part of a link that is the tab's own. */
  own(parts) {
    return new URLSearchParams([...parts].filter(([name]) => !SETUP_KEYS.includes(name)));
  }

  stateOf(tab) {
    return new URLSearchParams([...this.setup.current, ...this.tabs[tab].state()]);
  }

  /** Keeps a view in the address, and in the tabs for the way back; a step can be undone there. */
  remember(tab, parts, isStep = true) {
    const hash = `#${[tab, parts.toString()].filter(Boolean).join("&")}`;
    byId(`${tab}-tab`).setAttribute("href", hash);
    if (INSIDE.includes(tab)) this.shareSetup(tab);
    const isHere = this.tab === tab && address().tab === tab; // else a click leads elsewhere
    if (!isHere || hash === location.hash) return;
    history[isStep && !this.following[tab] ? "pushState" : "replaceState"](null, "", hash);
  }

  /** The other tabs that look inside go on with the same models and text. */
  shareSetup(tab, setup = this.setup.current) {
    for (const other of INSIDE) {
      if (other === tab) continue;
      const link = byId(`${other}-tab`);
      const own = this.own(partsOf(other));
      if (other === "stages" && tab === "map" && this.tabs.map.view) {
        for (const [name, value] of Object.entries(this.tabs.map.place())) own.set(name, value);
      }
      link.setAttribute("href", `#${other}&${new URLSearchParams([...setup, ...own])}`);
    }
  }

  themed() {
    document.documentElement.dataset.theme = theme();
    this.tabs.compare?.then((compare) => compare.draw());
    for (const name of INSIDE) this.tabs[name]?.themed();
    for (const one of Object.values(this.stored)) one.draw();
  }
}

window.freeattenApp = { ready: new App().start() };
