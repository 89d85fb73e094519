// One button for all that is sent on with a view: its link, picture, command and what to cite.

const PAGES = { compare: "command", map: "map-command", entropy: "entropy-command", stages: "stages-command" };
/** What saves the picture of a tab. */
const PICTURES = { compare: "#compare-png", map: "#maps [aria-label='save this view as a picture']", entropy: "#curves-png", stages: "#stages-png" };

class Share {
  /** @param {() => string} tab which one is open */
  constructor(tab) {
    this.tab = tab;
    this.dialog = byId("share");
    byId("share-open").addEventListener("click", () => this.open());
    byId("share-picture").addEventListener("click", () => document.querySelector(PICTURES[this.tab()]).click());
    for (const button of this.dialog.querySelectorAll("[data-copies]")) {
      button.addEventListener("click", () => this.copy(button));
    }
  }

  async open() {
    const tab = this.tab();
    byId("share-link").value = location.href;
    byId("share-command").value = byId(PAGES[tab])?.textContent ?? "";
    byId("share-command").closest("label").hidden = !byId("share-command").value;
    byId("share-picture").hidden = !document.querySelector(PICTURES[tab])?.checkVisibility();
    byId("share-told").textContent = "";
    this.dialog.showModal();
    const { bibtex } = await once("citation").catch(({ message }) => ({ bibtex: message }));
    byId("share-cite").value = bibtex;
  }

  /** Copies a field; where that is not allowed it is selected, to be copied by hand. */
  async copy(button) {
    const field = byId(button.dataset.copies);
    field.select();
    const isCopied = await navigator.clipboard?.writeText(field.value).then(() => true, () => false);
    byId("share-told").textContent = isCopied ? "Copied." : "Selected: copy it with the keyboard.";
  }
}
