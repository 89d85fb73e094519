// Words: numbers and tokens as they are shown. Tokens are anyone's text: nothing here makes markup.

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const TINIEST = 1e-300;
const PICTURES = new Map([[9, "⇥"], [10, "↵"], [13, "␍"], [127, "␡"]]);

/** `8,192` @param {number} value */
function count(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `10⁻³` @param {number} exponent */
function powerOfTen(exponent) {
  const digits = Array.from(String(Math.abs(exponent)), (digit) => SUPERSCRIPTS[Number(digit)]);
  return `10${exponent < 0 ? "⁻" : ""}${digits.join("")}`;
}

/** Four digits: `0.1234`, `1.234 × 10⁻⁷`. @param {number} value */
function number(value) {
  if (value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5)) {
    return String(Number(value.toPrecision(4))).replace("-", "−");
  }
  const [digits, exponent] = value.toExponential(3).split("e");
  return `${String(Number(digits)).replace("-", "−")} × ${powerOfTen(Number(exponent))}`;
}

/** @param {Weight} weight */
function weightText({ value, kind, least = TINIEST }) {
  if (kind === "hidden") return "not visible";
  if (kind === "zero") return "exactly 0";
  return value < least ? `below ${powerOfTen(Math.round(Math.log10(least)))}` : number(value);
}

/** One character that can be seen, for any character. @param {string} character */
function mark(character) {
  const code = /** @type {number} */ (character.codePointAt(0));
  const picture = PICTURES.get(code);
  if (picture) return picture;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return isUnseen(code) ? `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩` : character;
}

/** Whether a character would not be seen, or would turn text around. @param {number} code */
function isUnseen(code) {
  return (code >= 0x80 && code <= 0xa0) || code === 0xad || code === 0x61c
    || code === 0x200b || code === 0x200e || code === 0x200f
    || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f)
    || code === 0xfeff || (code >= 0xd800 && code <= 0xdfff);
}

/** A token in which every character can be seen, at most `most` of them. */
function tokenText(/** @type {string} */ token, most = 40) {
  if (token === "") return "∅";
  const characters = Array.from(token);
  const shown = characters.slice(0, most).map(mark).join("");
  const spaced = shown.replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length));
  return characters.length > most ? `${spaced}…` : spaced;
}

/** Text between direction isolates: a right-to-left token leaves its neighbours in place. */
function isolated(/** @type {string} */ text) {
  return `\u2068${text}\u2069`;
}
