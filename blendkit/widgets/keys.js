// Sends the keys of the Python side's list to it, from anywhere inside the box (class "bk-keys-box") that holds
// this widget; a click into the box gives it the focus. Everywhere else keys keep their meaning.
const CONTROLS = "button, input, select, label";

function render({ model, el }) {
  const text = document.createElement("div");
  text.tabIndex = 0;
  text.setAttribute("role", "group");
  text.className = "bk-keys";
  text.style.cssText = "padding: 4px 8px; border: 1px solid currentColor; border-radius: 4px; opacity: 0.85";
  text.textContent = model.get("hint");
  el.appendChild(text);

  const box = () => el.closest(".bk-keys-box") || el;
  // JupyterLab's own "a" inserts a cell, unless the element with the focus asks for silence
  const focus = (event) => {
    if (box().contains(event.target)) event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  };
  // otherwise the click selects the notebook's cell, and "r" turns that into a raw one
  const press = (event) => {
    if (!box().contains(event.target) || event.target.closest(CONTROLS)) return;
    event.preventDefault();
    text.focus({ preventScroll: true });
  };
  const listen = (event) => {
    if (!box().contains(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest("select")) return; // letters choose from the list there
    if (!model.get("pressable").includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat && !event.key.startsWith("Arrow")) return; // a key held down decides once
    model.send({ key: event.key });
  };
  document.addEventListener("focusin", focus);
  document.addEventListener("pointerdown", press);
  document.addEventListener("keydown", listen);
  return () => {
    document.removeEventListener("focusin", focus);
    document.removeEventListener("pointerdown", press);
    document.removeEventListener("keydown", listen);
  };
}

export default { render };
