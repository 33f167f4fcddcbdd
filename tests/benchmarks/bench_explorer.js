// Moves the sliders of a page that holds the explorer and a picture made by Python; times are in milliseconds.

// From a key event on a slider until the picture differs, for both.
const measure = async ([moves]) => {
  const probe = document.createElement("canvas");
  [probe.width, probe.height] = [48, 48];
  const context = probe.getContext("2d", { willReadFrequently: true });
  const look = (picture) => { // the middle of the blend, pixel for pixel
    context.drawImage(picture, -192 + 48 / 2, -192 + 48 / 2);
    return context.getImageData(0, 0, 48, 48).data.join();
  };
  const tick = () => new Promise((go) => { const { port1, port2 } = new MessageChannel();
                                           port1.onmessage = go; port2.postMessage(0); });
  const handle = (text) => [...document.querySelectorAll(".widget-inline-hbox")]
    .find((row) => row.innerText.includes(text)).querySelector(".noUi-handle");
  const ways = { canvas: [handle("shift x [pixels]"), () => document.querySelector(".bk-blend canvas")],
                 png: [handle("PNG"), () => document.querySelector("img.bench-png")] };
  const took = { canvas: [], png: [] };
  for (let k = 0; k < moves; k++) {
    for (const [name, [slider, picture]] of Object.entries(ways)) {
      const before = look(picture());
      const key = Math.floor(k / 20) % 2 ? "ArrowLeft" : "ArrowRight";
      const start = performance.now();
      slider.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
      await null; // what the key event itself has queued, before any other task
      while (look(picture()) === before && performance.now() - start < 5000) await tick();
      took[name].push(performance.now() - start);
      await new Promise((go) => setTimeout(go, 120));
    }
  }
  return took;
};

// From the last of some moves until SEP, and until fractions, has answered.
const settle = async () => {
  const root = document.querySelector(".bk-blend");
  const { model } = root.blendkit;
  const took = { sep: [], fractions: [] };
  const wait = (ms) => new Promise((go) => setTimeout(go, ms));
  for (let k = 0; k < 60; k++) {
    for (let step = 0; step < 5; step++) {
      model.set("dx", (k * 7 + step) % 40);
      model.save_changes();
      await wait(16);
    }
    const start = performance.now();
    for (const [name, states] of Object.entries({ sep: ["partly", "true"], fractions: ["true"] })) {
      while (!states.includes(root.dataset.fresh) && performance.now() - start < 5000) await wait(1);
      took[name].push(performance.now() - start);
    }
    await wait(100);
  }
  return took;
};
