// What every part of a page is made with.

const byId = (id) => document.getElementById(id);

/** A text that ends as a sentence does. */
function sentence(text) {
  return /[.?!…]$/.test(text) ? text : `${text}.`;
}

const THEME_KEY = "freeatten-theme";

/** Light or dark as it was chosen before; null where it was not, or may not be kept. */
function chosenTheme() {
  try {
    const kept = localStorage.getItem(THEME_KEY);
    return ["light", "dark"].includes(kept) ? kept : null;
  } catch {
    return null;
  }
}

/** Keeps the choice for the next visit. */
function keepTheme(theme) {
  try {
    localStorage.setItem(THEME_KEY, theme);
  } catch {
    // a full or forbidden storage: the choice holds until the page is closed
  }
}

/** The window's title follows what is open. */
function titled(tab) {
  const heading = byId(tab === "compare" ? "title" : `${tab}-title`).textContent;
  document.title = [heading, "freeatten"].filter(Boolean).join(" – ");
}

/** An element; texts never become markup. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "line", "text", "polyline"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function table({ caption, header, rows }) {
  const head = make("tr", {}, make("td"), ...header.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map(([label, ...cells]) => make("tr", {},
    make("th", { scope: "row" }, label), ...cells.map((text) => make("td", {}, text))));
  return make("div", {}, make("p", { class: "site-caption" }, caption),
    make("div", { class: "site-scroll", tabindex: "0", role: "group", "aria-label": caption },
      make("table", { "aria-label": caption }, make("thead", {}, head), make("tbody", {}, ...body))));
}

/** Saves a text as a file. */
function save(text, name, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Lines as CSV; a cell that a spreadsheet would run as a formula is quoted with '. */
function csvOf(lines) {
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",#\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return lines.map((one) => one.map(cell).join(",")).join("\n") + "\n";
}
