// What a toolbar is made of.

/** @param {string} text @param {string} label @param {() => void} click */
function toolButton(text, label, click) {
  return element("button", {
    type: "button", class: "fa-button", text, title: label, "aria-label": label, on: { click },
  });
}

/**
 * A choice of values by their texts, with `fill` to offer others.
 * @param {string} name @param {[string, string][]} choices @param {(value: string) => void} chosen
 */
function selectBox(name, choices, chosen) {
  const control = /** @type {HTMLSelectElement} */ (element("select", {
    class: "fa-select", on: { change: () => chosen(control.value) },
  }));
  const label = element("label", { class: "fa-choice" }, element("span", { text: name }), control);
  const fill = (/** @type {[string, string][]} */ list, /** @type {string} */ value) => {
    control.replaceChildren(...list.map(([key, text]) => element("option", { value: key, text })));
    control.value = value;
  };
  fill(choices, choices[0]?.[0] ?? "");
  return { control, label, fill };
}

/**
 * The choices of how weights become colours, with `fill` to say what is chosen.
 * @param {(shading: Shading) => void} chosen
 */
function shadingChoices(chosen) {
  const tell = () => chosen(shadingOf(`${colours.control.value}${least.control.value === "0" ? "" : `-${least.control.value}`}`));
  const colours = selectBox("Colours", SHADINGS, tell);
  const least = selectBox("Hide", LEASTS, tell);
  const fill = (/** @type {Shading} */ shading) => {
    colours.control.value = `${shading.range}-${shading.kind}`;
    least.control.value = String(shading.least);
  };
  return { root: element("div", { class: "fa-shading" }, colours.label, least.label), fill };
}
