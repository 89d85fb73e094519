// Interaction: pointers, wheel and keys become a few calls. Knows nothing of maps.

/**
 * @typedef {object} Actions  Points are in CSS pixels of the canvas.
 * @property {(factor: number, x: number, y: number) => boolean} zoom  a factor above 1 shows more;
 *   whether there was more to show
 * @property {(dx: number, dy: number) => void} drag
 * @property {(x: number, y: number) => void} point
 * @property {() => void} leave
 * @property {(x: number, y: number) => void} pick
 * @property {(key: string, shift: boolean) => boolean} press  whether the key meant something
 */

/** Pixels that a click may tremble. */
const TREMBLE = 4;
const WHEEL_LINE = 16;
const WHEEL_SPEED = 0.0016;
const PINCH_SPEED = 0.01;

class Gestures {
  /** @param {HTMLCanvasElement} canvas @param {Actions} actions */
  constructor(canvas, actions) {
    this.canvas = canvas;
    this.actions = actions;
    /** @type {Map<number, {x: number, y: number}>} */
    this.down = new Map();
    this.moved = false;
    this.travel = 0;
    const on = (/** @type {string} */ name, /** @type {(event: any) => void} */ handler) =>
      canvas.addEventListener(name, handler.bind(this), { passive: false });
    on("wheel", this.onWheel);
    on("pointerdown", this.onDown);
    on("pointermove", this.onMove);
    on("pointerup", this.onUp);
    on("pointercancel", this.onCancel);
    on("pointerleave", this.onLeave);
    on("dblclick", this.onDouble);
    on("keydown", this.onKey);
  }

  /** @param {MouseEvent} event */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /** @param {WheelEvent} event */
  onWheel(event) {
    const { x, y } = this.place(event);
    const speed = event.ctrlKey ? PINCH_SPEED : WHEEL_SPEED;
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : WHEEL_LINE;
    const isTaken = this.actions.zoom(Math.exp(event.deltaY * lines * speed), x, y);
    // what shows all cannot show more: the page scrolls, and is not zoomed by a pinch
    if (isTaken || event.ctrlKey) event.preventDefault();
  }

  /** @param {PointerEvent} event */
  onDown(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    if (this.down.size === 0) {
      this.moved = false;
      this.travel = 0;
    }
    this.down.set(event.pointerId, this.place(event));
    if (this.down.size > 1) this.moved = true;
  }

  /** @param {PointerEvent} event */
  onMove(event) {
    const now = this.place(event);
    const before = this.down.get(event.pointerId);
    if (!before) {
      this.actions.point(now.x, now.y);
      return;
    }
    this.down.set(event.pointerId, now);
    if (this.down.size === 1) this.dragged(before, now);
    else this.pinched(event.pointerId, before, now);
  }

  /** @param {{x: number, y: number}} before @param {{x: number, y: number}} now */
  dragged(before, now) {
    this.travel += Math.hypot(now.x - before.x, now.y - before.y);
    if (this.travel < TREMBLE) return;
    this.moved = true;
    this.canvas.classList.add("fa-dragging");
    this.actions.drag(now.x - before.x, now.y - before.y);
  }

  /** Two fingers: their distance zooms, their middle drags. */
  pinched(/** @type {number} */ id, /** @type {{x: number, y: number}} */ before,
    /** @type {{x: number, y: number}} */ now) {
    const other = [...this.down].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const reach = (/** @type {{x: number, y: number}} */ from) =>
      Math.max(Math.hypot(from.x - other.x, from.y - other.y), 1);
    this.actions.drag((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.actions.zoom(reach(before) / reach(now), (now.x + other.x) / 2, (now.y + other.y) / 2);
  }

  /** @param {PointerEvent} event */
  onUp(event) {
    if (!this.down.delete(event.pointerId)) return;
    this.canvas.classList.remove("fa-dragging");
    const { x, y } = this.place(event);
    if (!this.moved) this.actions.pick(x, y);
  }

  /** @param {PointerEvent} event */
  onCancel(event) {
    this.down.delete(event.pointerId);
    this.canvas.classList.remove("fa-dragging");
  }

  /** @param {PointerEvent} event */
  onLeave(event) {
    if (event.pointerType === "mouse" && !this.down.size) this.actions.leave();
  }

  /** @param {MouseEvent} event */
  onDouble(event) {
    const { x, y } = this.place(event);
    this.actions.zoom(1 / 4, x, y);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.actions.press(event.key, event.shiftKey)) event.preventDefault();
  }
}
