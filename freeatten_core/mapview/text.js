// The text beside the maps: running, every token tinted by what the query's row of each map gives it.

const TEXT_SIZE = 13;
const TEXT_LINE = 23;
/** Lines drawn above and below those that are seen. */
const TEXT_SPARE = 12;
const TOKEN_PADDING = 2;
/** Of the maps, in their order; more than these have the colours again. */
const STRIPES = ["50, 140, 220", "230, 115, 20", "20, 165, 120", "190, 95, 185"];

/**
 * @typedef {object} Reading
 * @property {(key: number) => void} point  a token is pointed at
 * @property {(query: number) => void} pick  a token is to be the query
 *
 * @typedef {{name: string, shares: ArrayLike<number>}} Tint  0 to 1 for the first tokens
 */

/**
 * A token as it stands in a text: what cannot be seen has a sign, blanks stay but for those behind
 * a new line, by which the next line is moved in.
 * @param {string} token
 */
function runningText(token) {
  return Array.from(token.replace(/\n *$/, "\n")).map(mark).join("");
}

/** Blanks that a token moves the next line in by. @param {string} token */
function indentOf(token) {
  return /\n( *)$/.exec(token)?.[1].length ?? 0;
}

class TextPane {
  /** @param {string[]} tokens @param {Reading} reading */
  constructor(tokens, reading) {
    this.tokens = tokens;
    this.reading = reading;
    this.texts = tokens.map(runningText);
    /** @type {Tint[]} */
    this.tints = [];
    /** @type {{query: number | null, key: number | null}} */
    this.marked = { query: null, key: null };
    /** The first token of every line. @type {number[]} */
    this.starts = [];
    /** The lines that are drawn, `last` not among them. */
    this.drawn = { first: 0, last: 0 };
    this.width = 0;
    this.build();
  }

  build() {
    this.legend = element("p", { class: "fa-text-legend" });
    this.found = element("output", { class: "fa-position" });
    this.search = /** @type {HTMLInputElement} */ (element("input", {
      type: "search", class: "fa-select fa-search", "aria-label": "find in the text", placeholder: "find in the text",
      on: { keydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "Enter") this.find(event.shiftKey ? -1 : 1); } },
    }));
    this.lines = element("div", { class: "fa-text-lines" });
    this.scroller = element("div", {
      class: "fa-text-scroller", tabindex: 0, role: "application", "aria-roledescription": "text",
      "aria-label": "The text. Left and right move from token to token, Enter makes one the query.",
      on: {
        scroll: () => this.scrolled(),
        pointermove: (/** @type {PointerEvent} */ event) => this.at(event, this.reading.point),
        click: (/** @type {PointerEvent} */ event) => this.at(event, this.reading.pick),
        keydown: (/** @type {KeyboardEvent} */ event) => this.press(event),
      },
    }, this.lines);
    this.root = element("section", { class: "fa-text", "aria-label": "text" },
      element("div", { class: "fa-text-bar" }, this.search, this.found), this.legend, this.scroller);
  }

  /** Calls with the token under the pointer. */
  at(/** @type {Event} */ event, /** @type {(token: number) => void} */ tell) {
    const { at } = /** @type {HTMLElement} */ (event.target).dataset;
    if (at !== undefined) tell(Number(at));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const from = this.marked.key ?? this.marked.query ?? 0;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const to = Math.min(Math.max(from + step, 0), this.tokens.length - 1);
      this.reading.point(to);
      this.reveal(to);
    } else if (event.key === "Enter") this.reading.pick(from);
    else return;
    event.preventDefault();
  }

  // Lines

  /** Breaks the text into lines of the width that there is. */
  fit() {
    const width = this.scroller.clientWidth - 4 * TOKEN_PADDING;
    if (width <= 0 || width === this.width) return;
    this.width = width;
    const pen = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
    pen.font = `${TEXT_SIZE}px ${MONO}`;
    /** @type {Map<string, number>} */
    const known = new Map();
    const wide = (/** @type {string} */ text) => {
      const found = known.get(text) ?? pen.measureText(text).width + TOKEN_PADDING;
      known.set(text, found);
      return found;
    };
    this.blank = pen.measureText(" ").width;
    this.starts = [0];
    let used = 0;
    this.texts.forEach((text, at) => {
      const needed = wide(text);
      if (at > 0 && (used + needed > width || this.tokens[at - 1].includes("\n"))) {
        this.starts.push(at);
        used = this.indent(at);
      }
      used += needed;
    });
    this.lines.style.height = `${this.starts.length * TEXT_LINE}px`;
    this.render();
  }

  /** Pixels that a line is moved in by, half of its width at most. @param {number} start */
  indent(start) {
    return start ? Math.min(indentOf(this.tokens[start - 1]) * (this.blank ?? 0), this.width / 2) : 0;
  }

  /** The line that a token stands in. @param {number} token */
  lineOf(token) {
    let [low, high] = [0, this.starts.length - 1];
    while (low < high) {
      const middleLine = Math.ceil((low + high) / 2);
      if (this.starts[middleLine] <= token) low = middleLine;
      else high = middleLine - 1;
    }
    return low;
  }

  /** The lines that are seen, and so many above and below them. @param {number} spare */
  seen(spare) {
    const { scrollTop, clientHeight } = this.scroller;
    return {
      first: Math.max(0, Math.floor(scrollTop / TEXT_LINE) - spare),
      last: Math.min(this.starts.length, Math.ceil((scrollTop + clientHeight) / TEXT_LINE) + spare),
    };
  }

  /** Draws other lines once half of those to spare have come into view. */
  scrolled() {
    const { first, last } = this.seen(TEXT_SPARE / 2);
    if (first < this.drawn.first || last > this.drawn.last) this.render();
  }

  /** Draws the lines that are seen. */
  render() {
    if (!this.width) return;
    this.drawn = this.seen(TEXT_SPARE);
    const { first, last } = this.drawn;
    this.lines.replaceChildren(...Array.from({ length: last - first }, (_, at) => this.line(first + at)));
  }

  /** @param {number} number */
  line(number) {
    const end = this.starts[number + 1] ?? this.tokens.length;
    const line = element("div", { class: "fa-text-line" });
    line.style.top = `${number * TEXT_LINE}px`;
    line.style.paddingLeft = `${this.indent(this.starts[number])}px`;
    for (let at = this.starts[number]; at < end; at += 1) line.append(this.word(at));
    return line;
  }

  /** @param {number} at */
  word(at) {
    const word = element("bdi", { class: "fa-word", "data-at": at, text: this.texts[at] });
    if (at === this.marked.query) word.classList.add("fa-word-query");
    if (at === this.marked.key) word.classList.add("fa-word-key");
    const stripes = this.tints.map(({ shares }, index) =>
      `rgba(${STRIPES[index % STRIPES.length]}, ${(at < shares.length ? shares[at] : 0).toFixed(3)})`);
    if (stripes.length) {
      const edge = (/** @type {number} */ part) => `${(part / stripes.length) * 100}%`;
      word.style.background = `linear-gradient(to bottom, ${stripes.map((colour, index) =>
        `${colour} ${edge(index)} ${edge(index + 1)}`).join(", ")})`;
    }
    return word;
  }

  // What is shown of the tokens

  /**
   * @param {Tint[]} tints @param {string} said  what the tint is of
   * @param {number | null} shown  a token to scroll to
   */
  tint(tints, said, shown = null) {
    this.tints = tints;
    if (shown !== null) this.scrollTo(shown);
    this.render();
    const names = tints.map(({ name }, index) => {
      const swatch = element("i", { class: "fa-swatch" });
      swatch.style.background = `rgb(${STRIPES[index % STRIPES.length]})`;
      return element("span", { class: "fa-note" }, swatch, element("span", { text: name }));
    });
    this.legend.replaceChildren(element("span", { text: said }), ...names);
  }

  /** Marks the query and the key. @param {number | null} query @param {number | null} key */
  mark(query, key) {
    if (query === this.marked.query && key === this.marked.key) return;
    this.marked = { query, key };
    for (const [name, token] of /** @type {[string, number | null][]} */ ([["query", query], ["key", key]])) {
      for (const one of this.lines.querySelectorAll(`.fa-word-${name}`)) one.classList.remove(`fa-word-${name}`);
      if (token !== null) this.lines.querySelector(`[data-at="${token}"]`)?.classList.add(`fa-word-${name}`);
    }
  }

  /** Scrolls a token into view. @param {number} token */
  reveal(token) {
    this.scrollTo(token);
    this.scrolled();
  }

  /** Scrolls without drawing, unless the token is seen. @param {number} token */
  scrollTo(token) {
    const top = this.lineOf(token) * TEXT_LINE;
    const { scrollTop, clientHeight } = this.scroller;
    if (top >= scrollTop && top + TEXT_LINE <= scrollTop + clientHeight) return;
    this.scroller.scrollTop = top - clientHeight / 2;
  }

  /** Goes to the next place of what is searched for, or the one before. @param {number} step */
  find(step) {
    const wanted = this.search.value.toLowerCase();
    if (!wanted) return;
    const whole = this.tokens.join("").toLowerCase();
    const ends = this.ends();
    const from = this.marked.key === null ? -1 : ends[this.marked.key] - this.tokens[this.marked.key].length;
    const found = step > 0 ? whole.indexOf(wanted, from + 1) : whole.lastIndexOf(wanted, Math.max(from - 1, 0));
    const place = found >= 0 ? found : step > 0 ? whole.indexOf(wanted) : whole.lastIndexOf(wanted);
    const many = whole.split(wanted).length - 1;
    this.found.textContent = many ? `${count(many)} times` : "not in the text";
    if (place < 0) return;
    const token = ends.findIndex((end) => end > place);
    this.reading.point(token);
    this.reveal(token);
  }

  /** Where every token ends in the whole text. */
  ends() {
    let end = 0;
    return this.tokens.map((token) => { end += token.length; return end; });
  }
}

/** A row's weights as shares of its largest, by their square roots: small ones are seen too. */
function rowShares(/** @type {ArrayLike<number>} */ weights) {
  const shares = Float32Array.from(weights);
  let top = 0;
  for (const weight of shares) top = Math.max(top, weight);
  return shares.map((weight) => (top > 0 ? Math.sqrt(weight / top) : 0));
}
