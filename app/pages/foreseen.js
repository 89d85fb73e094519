// What models of others take, told before they are read, and which of their layers are.

const ALL_LAYERS = "all";

class Foreseen {
  /** `wanted` gives what the form would have foreseen: a checkpoint, a length and layers each. */
  constructor(wanted) {
    this.wanted = wanted;
    this.known = new Map();
    this.tell = newest(() => this.told());
    this.offer([], null);
    byId("layers").value = "";
  }

  /** The layers that are asked for: a number, "all", or null for the one that is read unasked. */
  get layers() {
    const { value } = byId("layers");
    if (value === "") return null;
    return value === ALL_LAYERS ? value : Number(value);
  }

  /** Chooses layers, a number or "all", whether or not they are known to be there. */
  choose(layers) {
    const value = /^(\d{1,4}|all)$/.test(layers ?? "") ? String(layers) : "";
    const isOffered = [...byId("layers").options].some((option) => option.value === value);
    if (!isOffered) byId("layers").append(make("option", { value }, value === ALL_LAYERS ? "all layers" : `layer ${value}`));
    byId("layers").value = value;
  }

  /** Fills the choice of layers. */
  offer(attention, unasked) {
    const { value } = byId("layers");
    const shown = attention.map(({ layer, window }) => [layer, `layer ${layer}${window ? `, window ${window.toLocaleString("en")}` : ""}`]);
    const first = unasked === null ? "one layer" : `layer ${unasked}, unless chosen`;
    byId("layers").replaceChildren(...[["", first], ...shown, [ALL_LAYERS, `all ${attention.length || ""} layers`]]
      .map(([option, text]) => make("option", { value: option }, text)));
    this.choose(value);
  }

  /** What one takes, asked once; `ask` has the server foresee it. */
  of(asked, ask = (given) => finished("start_forecast", given, () => {})) {
    const key = JSON.stringify(asked);
    const known = this.known.get(key) ?? ask(asked).catch((error) => {
      this.known.delete(key);
      throw error;
    });
    this.known.set(key, known);
    return known;
  }

  /** Whether what is asked fits in memory. @throws with what it would take */
  async check(asked, ask) {
    const { attention, fits, takes } = await this.of(asked, ask);
    if (attention.length && !fits) throw new Error(`${asked.checkpoint}: ${takes}`);
  }

  /** Tells what the models of the form take, and what is wrong with one. */
  async told() {
    const wanted = this.wanted();
    const found = await Promise.all(wanted.map((one) => this.of(one).catch(({ message }) => ({ attention: [], fault: message }))));
    if (JSON.stringify(this.wanted()) !== JSON.stringify(wanted)) return;
    const first = found.find(({ attention }) => attention.length);
    if (first) this.offer(first.attention, first.unasked);
    byId("layers").parentElement.hidden = !first;
    const lines = found.flatMap(({ attention, fault, about, takes }, at) => {
      if (fault) return [make("span", { class: "site-error" }, sentence(fault))];
      return attention.length ? [make("span", {}, make("b", {}, wanted[at].checkpoint), `: ${about}. ${takes}.`)] : [];
    });
    byId("foreseen").replaceChildren(...lines);
    byId("foreseen").hidden = !lines.length;
  }
}
