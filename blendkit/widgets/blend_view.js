// The pictures of blendkit's widgets, drawn in the browser. One module, four views, chosen by the model's `kind`:
//   "blend"   two stamps that can be dragged over one another (BlendExplorer)
//   "stamps"  pictures side by side (StampInspector, ErrorsBrowser)
//   "picker"  a strip of thumbnails
//   "curve"   losses after each epoch (LearningCurve)
// and `standalone`, a blend explorer without a kernel, for exported pages.

const COLOURS = ["#0072b2", "#d55e00", "#cc79a7"]; // central, companion, both: as in the figures
const [WHITE, GREY, GROUND] = ["#ffffff", "#aaaaaa", "#1a1a1a"];
const SCALE = 3; // screen pixels per pixel of a stamp
const SETTINGS = ["dx", "dy", "dmag", "turn_central", "turn_companion", "extra_noise"];

// ---------------------------------------------------------------------------------------------------- arithmetic

const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// As FADE in blendkit.blends.geometry: a stamp's share on the pixels along a seam, five deep.
const FADE = [75, 60, 45, 30, 15].map((angle) => Math.fround(Math.cos((angle * Math.PI) / 180)));

// As blendkit.blends.geometry.place: a stamp, turned about the centre pixel and shifted, with `fill` where that leaves
// the frame empty, faded into each other. `fill` may be a number, then nothing fades.
export function place(stamp, [ny, nx], orient, dy, dx, fill) {
  const out = new stamp.constructor(ny * nx);
  const quarter = orient % 4;
  const transposed = orient >= 4 !== (quarter % 2 === 1);
  const [vy, vx] = transposed ? [nx, ny] : [ny, nx];
  const flipY = quarter === 1 || quarter === 2;
  const flipX = quarter === 2 || quarter === 3;
  const top = dy + (flipY && vy % 2 === 0 ? 1 : 0);
  const left = dx + (flipX && vx % 2 === 0 ? 1 : 0);
  const depth = (begin, at, size) => (begin > 0 ? at : begin < 0 ? size - 1 - at : FADE.length);
  for (let row = 0; row < ny; row++) {
    const y = row - top;
    const r = flipY ? vy - 1 - y : y;
    for (let column = 0; column < nx; column++) {
      const x = column - left;
      const to = row * nx + column;
      if (y < 0 || y >= vy || x < 0 || x >= vx) {
        out[to] = typeof fill === "number" ? fill : fill[to];
      } else {
        const c = flipX ? vx - 1 - x : x;
        out[to] = stamp[transposed ? c * nx + r : r * nx + c];
        const deep = Math.min(depth(top, y, vy), depth(left, x, vx));
        if (typeof fill === "number" || deep >= FADE.length) continue;
        out[to] = Math.fround(out[to] * FADE[deep]) + Math.fround(fill[to] * FADE[FADE.length - 1 - deep]);
      }
    }
  }
  return out;
}

// What blendkit.render adds up, in float32 as there; last comes extra noise, in units of the sky's.
export function blend(pair, set) {
  const { shape, stamps, sky, segments, field } = pair;
  const size = shape[0] * shape[1];
  const half = (array, k) => array.subarray(k * size, (k + 1) * size);
  const central = place(half(stamps, 0), shape, set.orient_central, 0, 0, half(sky, 0));
  const companion = place(half(stamps, 1), shape, set.orient_companion, set.dy, set.dx, half(sky, 1));
  const scale = Math.fround(10 ** (-0.4 * set.dmag));
  if (scale !== 1) for (let i = 0; i < size; i++) companion[i] *= scale;
  const image = new Float32Array(size);
  const noise = Math.fround(set.extra_noise * pair.sigma);
  for (let i = 0; i < size; i++) image[i] = central[i] + companion[i];
  if (noise) for (let i = 0; i < size; i++) image[i] += Math.fround(noise * field[i]);
  const masks = [
    place(half(segments, 0), shape, set.orient_central, 0, 0, 0),
    place(half(segments, 1), shape, set.orient_companion, set.dy, set.dx, 0),
  ];
  return { image, central, companion, masks };
}

// An asinh stretch: -1 noise is black, `white` is white.
function levels(pixels, noise, white, stretch = 0) {
  const soft = 2 * noise * 10 ** stretch;
  const top = Math.asinh(Math.max(white, 2 * noise) / soft);
  const low = Math.asinh(noise / soft);
  const [scale, out] = [255 / (top + low), new Uint8ClampedArray(pixels.length)];
  for (let i = 0; i < out.length; i++) {
    const x = pixels[i] / soft;
    if (x > -1) out[i] = scale * (Math.log(x + Math.sqrt(x * x + 1)) + low); // asinh; what is fainter is black
  }
  return out;
}

function signed(pixels, noise, white) {
  const top = Math.asinh(Math.max(white / noise, 2) / 2);
  const out = new Uint8ClampedArray(pixels.length);
  for (let i = 0; i < out.length; i++) out[i] = 255 * (0.5 + (0.5 * Math.asinh(pixels[i] / (2 * noise))) / top);
  return out;
}

// ------------------------------------------------------------------------------------------------------- drawing

const small = document.createElement("canvas"); // one stamp at its own size

function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
}

function paint(canvas, [ny, nx], grey, colour) {
  resize(canvas, SCALE * nx, SCALE * ny);
  resize(small, nx, ny);
  const context = small.getContext("2d", { willReadFrequently: true });
  const picture = context.createImageData(nx, ny);
  const rgba = new Uint32Array(picture.data.buffer);
  for (let row = 0; row < ny; row++) {
    const from = (ny - 1 - row) * nx; // the first row at the bottom
    for (let column = 0; column < nx; column++) {
      const value = grey[from + column];
      rgba[row * nx + column] = colour ? colour[value] : 0xff000000 | (value * 0x010101);
    }
  }
  context.putImageData(picture, 0, 0);
  const big = canvas.getContext("2d");
  big.imageSmoothingEnabled = false;
  big.drawImage(small, 0, 0, canvas.width, canvas.height);
  return big;
}

const packed = (css) => {
  const value = parseInt(css.slice(1), 16);
  return (0xff000000 | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
};
const MASK_COLOURS = [GROUND, ...COLOURS].map(packed);

// The outline of a mask along the edges of its pixels.
function contour(context, [ny, nx], mask, colour, width = 2) {
  const path = new Path2D();
  const at = (row, column) => row >= 0 && row < ny && column >= 0 && column < nx && mask[row * nx + column] > 0;
  for (let row = 0; row <= ny; row++) {
    for (let column = 0; column <= nx; column++) {
      const y = SCALE * (ny - row);
      const x = SCALE * column;
      if (column < nx && at(row, column) !== at(row - 1, column)) (path.moveTo(x, y), path.lineTo(x + SCALE, y));
      if (row < ny && at(row, column) !== at(row, column - 1)) (path.moveTo(x, y), path.lineTo(x, y - SCALE));
    }
  }
  stroke(context, path, colour, width);
}

// A line with a halo, legible on sky and on galaxies.
function stroke(context, path, colour, width = 2) {
  context.strokeStyle = colour === WHITE ? "rgba(0, 0, 0, 0.6)" : "rgba(255, 255, 255, 0.85)";
  context.lineWidth = 2 * width;
  context.stroke(path);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}

function ellipses(context, [ny], shapes) {
  for (const [x, y, a, b, theta, which] of shapes) {
    const path = new Path2D();
    path.ellipse((x + 0.5) * SCALE, (ny - y - 0.5) * SCALE, a * SCALE, b * SCALE, -theta, 0, 2 * Math.PI);
    stroke(context, path, which < 2 ? COLOURS[which] : WHITE);
  }
}

// Round numbers between two, some four of them; 1, 2, 5, 10... where they span more than a factor of eight.
function ticks(low, high, log) {
  const power = (value) => 10 ** Math.floor(Math.log10(value));
  if (log && high / low > 8) {
    const decades = Math.round(Math.log10(power(high) / power(low)));
    const all = Array.from({ length: decades + 1 }, (_, k) => power(low) * 10 ** k).flatMap((one) => [one, 2 * one, 5 * one]);
    return all.filter((value) => value >= low && value <= high);
  }
  const rough = (high - low) / 4;
  const step = [1, 2, 5, 10].map((factor) => factor * power(rough)).find((value) => value >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, k) => (first + k) * step);
}

// Empty axes on dark ground; gives what turns values into places on the canvas.
function chart(canvas, { x: [x0, x1], y: [y0, y1], log = false }, [below, beside]) {
  const context = canvas.getContext("2d");
  const margin = { left: 88, right: 12, top: 14, bottom: 64 };
  const width = canvas.width - margin.left - margin.right;
  const height = canvas.height - margin.top - margin.bottom;
  const scale = log ? Math.log : (value) => value;
  const X = (value) => margin.left + (width * (value - x0)) / (x1 - x0);
  const Y = (value) => margin.top + (height * (scale(y1) - scale(value))) / (scale(y1) - scale(y0));
  const line = (...[left, top, right, bottom]) => {
    context.beginPath();
    context.moveTo(left, top);
    context.lineTo(right, bottom);
    context.stroke();
  };
  context.fillStyle = GROUND;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.font = "21px sans-serif";
  context.fillStyle = "#eeeeee";
  context.strokeStyle = "#888888";
  context.lineWidth = 1;
  const bottom = margin.top + height;
  line(margin.left, bottom, margin.left + width, bottom);
  line(margin.left, margin.top, margin.left, bottom);
  context.textAlign = "center";
  for (const value of ticks(x0, x1).filter(Number.isInteger)) {
    line(X(value), bottom, X(value), bottom + 5);
    context.fillText(String(value), X(value), canvas.height - 38);
  }
  context.fillText(below, margin.left + width / 2, canvas.height - 9);
  context.textAlign = "right";
  for (const value of ticks(y0, y1, log)) {
    line(margin.left - 5, Y(value), margin.left, Y(value));
    context.fillText(String(+value.toPrecision(3)), margin.left - 8, Y(value) + 7);
  }
  context.save();
  context.translate(20, margin.top + height / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(beside, 0, 0);
  context.restore();
  return { context, line, X, Y };
}

// Light along the line through both centres.
function profile(canvas, [ny, nx], parts, { dx, dy }) {
  resize(canvas, 600, 200);
  const distance = Math.hypot(dx, dy);
  const [ux, uy] = distance ? [dx / distance, dy / distance] : [1, 0];
  const [cx, cy] = [Math.floor(nx / 2), Math.floor(ny / 2)];
  const reach = Math.ceil(Math.max(24, distance + 14));
  const [low, high] = [-Math.min(reach, 24), reach];
  const sample = (pixels, t) => {
    const [x, y] = [cx + t * ux, cy + t * uy];
    if (x < 0 || y < 0 || x >= nx - 1 || y >= ny - 1) return NaN; // beside the stamp
    const [c, r] = [Math.floor(x), Math.floor(y)];
    const [fx, fy] = [x - c, y - r];
    const i = r * nx + c;
    return (
      (pixels[i] * (1 - fx) + pixels[i + 1] * fx) * (1 - fy) + (pixels[i + nx] * (1 - fx) + pixels[i + nx + 1] * fx) * fy
    );
  };
  const steps = 2 * (high - low);
  const curves = parts.map(({ pixels, colour, dash }) => ({
    colour,
    dash,
    values: Array.from({ length: steps + 1 }, (_, k) => sample(pixels, low + (k * (high - low)) / steps)),
  }));
  const top = Math.max(1e-9, ...curves.flatMap(({ values }) => values).filter(Number.isFinite)) * 1.08;
  const ends = { x: [low, high], y: [-0.06 * top, top] };
  const { context, line, X, Y } = chart(canvas, ends, ["pixels from the central galaxy", "light [e⁻/s]"]);
  line(X(low), Y(0), X(high), Y(0));
  context.setLineDash([3, 4]);
  [0, distance].forEach((t, which) => {
    context.strokeStyle = COLOURS[which];
    line(X(t), Y(ends.y[0]), X(t), Y(ends.y[1]));
  });
  for (const { values, colour, dash } of curves) {
    polyline(context, values.map((value, k) => [X(low + (k * (high - low)) / steps), Y(value)]), colour, dash);
  }
}

function polyline(context, points, colour, dash) {
  context.beginPath();
  for (const [x, y] of points) if (Number.isFinite(y)) context.lineTo(x, y);
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
}

// ---------------------------------------------------------------------------------------------------------- views

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "html") node.innerHTML = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const swatch = (text, colour) => `<span class="bk-swatch"><span style="color:${colour}">■</span> ${text}</span>`;
const OWNERS = `${swatch("central", COLOURS[0])} ${swatch("companion", COLOURS[1])}`;
const CAPTIONS = {
  blend: `blend <span class="bk-hint"></span>`,
  central: "central alone",
  companion: "companion alone",
  masks: `true masks ${swatch("both", COLOURS[2])}`,
  profile: `light through both centres: ${swatch("blend", WHITE)} ${OWNERS}`,
};
const TRUTH = ["central", "companion", "masks", "profile"]; // hidden while the reader guesses

function figure(name, caption) {
  const canvas = element("canvas", { role: "img", "data-panel": name });
  return { canvas, node: element("figure", {}, canvas, element("figcaption", { html: caption })) };
}

function renderBlend({ model, el }) {
  const root = element("div", { class: "bk-view bk-blend" });
  el.classList.add("bk-spread");
  const panels = Object.fromEntries(Object.entries(CAPTIONS).map(([name, text]) => [name, figure(name, text)]));
  const grid = element("div", { class: "bk-panels" }, ...Object.values(panels).map(({ node }) => node));
  const facts = element("div", { class: "bk-facts", "aria-live": "polite" });
  const code = element("code");
  const copy = element("button", { type: "button", class: "bk-button", onclick: copyCode }, "copy the line");
  root.append(grid, element("div", { class: "bk-told" }, facts, element("div", { class: "bk-code" }, copy, code)));
  el.append(root);
  const handle = panels.blend.canvas;
  const hint = panels.blend.node.querySelector(".bk-hint");
  handle.tabIndex = 0;
  handle.setAttribute("role", "application");
  handle.setAttribute("data-lm-suppress-shortcuts", "true"); // or JupyterLab takes the arrow keys
  let pair = null;
  let shown = null;
  let due = false;

  function settings() {
    const [dx, dy, dmag, central, companion, extra_noise] = SETTINGS.map((name) => model.get(name));
    const [orient_central, orient_companion] = [central, companion].map((turn) => model.get("turns")[turn]);
    return { dx, dy, dmag, orient_central, orient_companion, extra_noise };
  }

  function readPair() {
    const shape = model.get("shape");
    pair = { shape, field: floats(model.get("field")), segments: bytes(model.get("segments")) };
    for (const name of ["stamps", "sky"]) pair[name] = floats(model.get(name));
    pair.sigma = model.get("sigma");
    later();
  }

  // several values that change together are drawn once, still before the browser paints
  function later() {
    if (due) return;
    due = true;
    queueMicrotask(() => {
      due = false;
      draw();
    });
  }

  function draw() {
    const set = settings();
    const { shape } = pair;
    shown = blend(pair, set);
    const [noise, white, stretch] = ["sigma", "white", "stretch"].map((name) => model.get(name));
    const grey = (pixels) => levels(pixels, noise, white, stretch);
    const hidden = model.get("hide");
    for (const name of TRUTH) panels[name].node.style.display = hidden ? "none" : "";
    const context = paint(handle, shape, grey(shown.image));
    const found = model.get("found");
    const fresh = found.at && found.at.every((value, k) => value === [...model.get("pair"), ...Object.values(set)][k]);
    if (fresh) {
      if (found.masks) {
        const masks = bytes(found.masks);
        const size = masks.length / 2;
        [0, 1].forEach((k) => contour(context, shape, masks.subarray(k * size, (k + 1) * size), COLOURS[k], 1));
      }
      ellipses(context, shape, found.ellipses ?? []);
    }
    root.dataset.fresh = fresh && found.waiting ? "partly" : String(Boolean(fresh));
    if (!hidden) {
      paint(panels.central.canvas, shape, grey(shown.central));
      paint(panels.companion.canvas, shape, grey(shown.companion));
      const code = shown.masks[0].map((value, i) => (value ? 1 : 0) + (shown.masks[1][i] ? 2 : 0));
      paint(panels.masks.canvas, shape, code, MASK_COLOURS);
      const parts = [
        { pixels: shown.central, colour: COLOURS[0], dash: [] },
        { pixels: shown.companion, colour: COLOURS[1], dash: [7, 4] },
        { pixels: shown.image, colour: WHITE, dash: [2, 3] },
      ];
      profile(panels.profile.canvas, shape, parts, set);
    }
    tell(set, hidden, fresh ? found : {});
    root.blendkit = { ...shown, settings: set, shape, model }; // read back by the tests
  }

  function tell(set, hidden, found) {
    const distance = Math.hypot(set.dx, set.dy);
    const mags = model.get("mags");
    const larger = Math.max(...model.get("r_eff"));
    const parts = [`distance ${distance.toFixed(1)} pixels = ${(distance / larger).toFixed(1)} × the larger radius`];
    if (!hidden) {
      const [central, companion, now] = [...mags, mags[1] + set.dmag].map((mag) => mag.toFixed(2));
      parts.push(`in the catalogue: central ${central} mag, companion ${companion} mag${set.dmag ? ` (now ${now} mag)` : ""}`);
    }
    const hints = ["drag it, or arrow keys"];
    if (found.ellipses) hints.push("ellipses: what SEP detects");
    if (found.masks) hints.push(`thin outlines: masks of ${found.masks_of}`);
    hint.textContent = `(${hints.join("; ")})`;
    facts.textContent = parts.join(" · ");
    code.textContent = recipe(set);
    const where = `companion ${set.dx} pixels right and ${set.dy} up of the central galaxy`;
    handle.setAttribute("aria-label", `Blend: ${where}. Arrow keys move it by a pixel, with shift by ten.`);
    for (const [name, { canvas, node }] of Object.entries(panels)) {
      if (name !== "blend") canvas.setAttribute("aria-label", node.lastChild.textContent);
    }
  }

  function recipe(set) {
    const turns = [set.orient_central, set.orient_companion];
    const dmag = set.dmag ? `, dmag=${+set.dmag.toPrecision(15)}` : "";
    const orient = turns.some(Boolean) ? `, orient=[${turns.join(", ")}]` : "";
    const [called, ids] = [model.get("called"), model.get("pair").join(", ")];
    return `bk.make_blends(${called}, [${ids}], ${set.dx}, ${set.dy}${dmag}${orient})`;
  }

  async function copyCode() {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code); // no clipboard here: the line is selected, for the reader to copy
      copy.textContent = "selected: now press Ctrl+C";
    }
    setTimeout(() => (copy.textContent = "copy the line"), 2000);
  }

  function moveTo(dx, dy) {
    const [right, up] = model.get("limits");
    const clip = (value, limit) => Math.min(Math.max(Math.round(value), -limit), limit);
    const [x, y] = [clip(dx, right), clip(dy, up)];
    if (x === model.get("dx") && y === model.get("dy")) return;
    model.set("dx", x);
    model.set("dy", y);
    model.save_changes();
  }

  let start = null;
  handle.addEventListener("pointerdown", (event) => {
    if (start || event.button) return; // a second finger, or a menu
    handle.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    start = { id: event.pointerId, x: event.clientX, y: event.clientY, dx: model.get("dx"), dy: model.get("dy") };
    event.preventDefault();
  });
  handle.addEventListener("pointermove", (event) => {
    if (event.pointerId !== start?.id) return;
    const zoom = handle.getBoundingClientRect().width / pair.shape[1];
    moveTo(start.dx + (event.clientX - start.x) / zoom, start.dy - (event.clientY - start.y) / zoom);
  });
  const release = (event) => (start = event.pointerId === start?.id ? null : start);
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) handle.addEventListener(end, release);
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const by = event.shiftKey ? 10 : 1;
    moveTo(model.get("dx") + by * step[0], model.get("dy") + by * step[1]);
  });

  // JupyterLab's sliders have no name for screen readers; they come and go while this view is on the page
  const naming = new MutationObserver(name);
  const attached = new ResizeObserver(() => {
    const around = el.closest(".bk-explorer");
    if (!around) return;
    attached.disconnect();
    naming.observe(around, { childList: true, subtree: true });
    name();
  });
  attached.observe(handle);
  function name() {
    for (const node of el.closest(".bk-explorer")?.querySelectorAll(".noUi-handle:not([aria-label])") ?? []) {
      const label = node.closest(".widget-inline-hbox")?.querySelector(".widget-label");
      if (label) node.setAttribute("aria-label", label.textContent);
    }
  }

  const listen = [
    [["stamps", "sky", "segments", "field", "pair", "mags", "r_eff", "white", "sigma"], readPair],
    [[...SETTINGS, "stretch", "hide", "found"], later],
  ].flatMap(([names, act]) => names.map((name) => [`change:${name}`, act]));
  for (const [event, act] of listen) model.on(event, act);
  readPair();
  return () => {
    naming.disconnect();
    attached.disconnect();
    listen.forEach(([event, act]) => model.off(event, act));
  };
}

function renderStamps({ model, el }) {
  const root = element("div", { class: "bk-view bk-panels bk-stamps" });
  el.append(root);
  function click({ target, clientX, clientY }) {
    const [ny, nx] = model.get("shape");
    const { left, bottom, width, height } = target.getBoundingClientRect();
    model.set("clicked", [((clientX - left) / width) * nx - 0.5, ((bottom - clientY) / height) * ny - 0.5]);
    model.save_changes();
  }
  function draw() {
    const [shape, noise] = [model.get("shape"), model.get("sigma")];
    root.replaceChildren(
      ...model.get("panels").map((panel) => {
        const { canvas, node } = figure(panel.name, panel.caption);
        canvas.setAttribute("aria-label", node.lastChild.textContent);
        const paints = {
          grey: (pixels) => paint(canvas, shape, levels(floats(pixels), noise, panel.white)),
          signed: (pixels) => paint(canvas, shape, signed(floats(pixels), noise, panel.white)),
          masks: (pixels) => paint(canvas, shape, bytes(pixels), MASK_COLOURS),
        };
        const context = paints[panel.style](panel.pixels);
        for (const { mask, owner } of panel.contours) contour(context, shape, bytes(mask), COLOURS[owner]);
        if (model.get("clicked")) {
          canvas.addEventListener("click", click);
          canvas.style.cursor = "pointer";
        }
        return node;
      }),
    );
  }
  model.on("change:panels", draw);
  draw();
  return () => model.off("change:panels", draw);
}

function renderPicker({ model, el }) {
  const root = element("div", { class: "bk-view bk-picker", role: "listbox", "aria-label": model.get("label") });
  el.classList.add("bk-strip");
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.style.setProperty("--chosen", COLOURS[model.get("label") === "companion" ? 1 : 0]);
  el.append(root);
  const [names, thumbs, rows] = [model.get("names"), bytes(model.get("thumbs")), model.get("rows")];
  const size = Math.sqrt(thumbs.length / names.length);
  const buttons = names.map((name, k) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    paint(canvas, [size, size], thumbs.subarray(k * size * size, (k + 1) * size * size));
    return element("button", { type: "button", role: "option", onclick: () => choose(k) }, canvas);
  });
  root.append(...buttons);
  root.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = Math.min(Math.max(buttons.indexOf(document.activeElement) + step, 0), buttons.length - 1);
    choose(next);
    buttons[next].focus();
  });
  function choose(k) {
    model.set("index", rows[k]);
    model.save_changes();
  }
  function mark() {
    const index = rows.indexOf(model.get("index"));
    buttons.forEach((button, k) => {
      button.setAttribute("aria-selected", String(k === index));
      button.tabIndex = k === index || (index < 0 && k === 0) ? 0 : -1;
      button.title = names[k];
      button.setAttribute("aria-label", names[k]);
    });
    const { offsetLeft = 0, offsetWidth = 0 } = buttons[index] ?? {};
    root.scrollLeft = offsetLeft - root.offsetLeft - (root.clientWidth - offsetWidth) / 2;
  }
  model.on("change:index", mark);
  mark();
  new ResizeObserver(mark).observe(root); // the chosen one stays in sight
  return () => model.off("change:index", mark);
}

const CURVES = [
  {
    name: "loss",
    caption: `loss, which the network lowers: ${swatch("training", GREY)} ${swatch("validation, other galaxies", WHITE)}`,
    lines: [
      { column: "loss", colour: GREY, dash: [7, 4] },
      { column: "val_loss", colour: WHITE, dash: [] },
    ],
    axis: "loss",
  },
  {
    name: "error",
    caption: `flux error in validation: ${OWNERS}`,
    lines: [
      { column: "val_mape_central", colour: COLOURS[0], dash: [] },
      { column: "val_mape_companion", colour: COLOURS[1], dash: [7, 4] },
    ],
    axis: "MAPE [%]",
  },
];

function renderCurve({ model, el }) {
  const root = element("div", { class: "bk-view bk-curve" });
  const grid = element("div", { class: "bk-panels" });
  const told = element("div", { role: "status" });
  root.append(told, grid);
  el.append(root);
  let chosen = null; // the epoch that the reader points at
  const panels = CURVES.map((curve) => ({ ...curve, ...figure(curve.name, curve.caption) }));
  for (const { canvas } of panels) {
    resize(canvas, 768, 400);
    canvas.tabIndex = 0;
    canvas.setAttribute("data-lm-suppress-shortcuts", "true");
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      choose(Math.round(canvas.epochAt((canvas.width * (event.clientX - box.left)) / box.width)));
    });
    canvas.addEventListener("pointerleave", () => choose(null));
    canvas.addEventListener("blur", () => choose(null));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      choose((chosen ?? model.get("history").epoch.at(-1) + (step < 0 ? 1 : 0)) + step);
    });
  }

  function choose(epoch) {
    chosen = epoch === null ? null : Math.min(Math.max(epoch, 1), model.get("history").epoch.length);
    draw();
  }

  function draw() {
    const history = model.get("history");
    const { epoch, loss, val_loss } = history;
    const best = val_loss.indexOf(Math.min(...val_loss));
    const shown = panels.filter(({ lines }) => lines[0].column in history);
    if (grid.children.length !== shown.length) grid.replaceChildren(...shown.map(({ node }) => node));
    for (const { canvas, lines, axis, name } of shown) {
      const values = lines.flatMap(({ column }) => history[column]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const log = low > 0;
      const room = 0.08 * (high - low || Math.abs(high) || 1);
      const y = log ? [low / 1.08, high * 1.08] : [low - room, high + room];
      const x = [0.5, Math.max(epoch.length, 4) + 0.5];
      const { context, line, X, Y } = chart(canvas, { x, y, log }, ["epoch", axis]);
      canvas.epochAt = (at) => x[0] + ((at - X(x[0])) * (x[1] - x[0])) / (X(x[1]) - X(x[0]));
      const dot = (at, value, colour, size) => {
        context.beginPath();
        context.arc(X(at), Y(value), size, 0, 2 * Math.PI);
        context.fillStyle = colour;
        context.fill();
      };
      if (chosen) line(X(chosen), Y(y[0]), X(chosen), Y(y[1]));
      for (const { column, colour, dash } of lines) {
        polyline(context, history[column].map((value, k) => [X(epoch[k]), Y(value)]), colour, dash);
        history[column].forEach((value, k) => dot(epoch[k], value, colour, epoch[k] === chosen ? 8 : 3));
      }
      if (name === "loss") dot(epoch[best], val_loss[best], WHITE, 8);
      const said = lines.map(({ column }) => `${column.replaceAll("_", " ")} ${history[column].at(-1).toPrecision(3)}`);
      canvas.setAttribute("aria-label", `${axis} after each of ${epoch.length} epochs; now ${said.join(", ")}`);
    }
    const at = chosen ? chosen - 1 : epoch.length - 1;
    const percent = (galaxy) => `${history[`val_mape_${galaxy}`][at].toFixed(1)} %`;
    const errors = shown.length > 1 ? `, flux error ${percent("central")} / ${percent("companion")}` : "";
    const losses = `loss ${loss[at].toPrecision(4)}, validation ${val_loss[at].toPrecision(4)}${errors}`;
    const left = model.get("epochs") - epoch.length;
    const mean = history.seconds.reduce((sum, value) => sum + value, 0) / epoch.length;
    const minutes = (left * mean) / 60;
    const wait = minutes < 1 ? "less than a minute" : `about ${Math.round(minutes)} min`;
    const rate = `${Math.round(history.images_per_second.at(-1))} images/s`;
    const rest = left ? `at most ${left} epochs to go, ${wait}` : "trained";
    const now = `best ${left ? "so far " : ""}epoch ${epoch[best]} (large dot) · ${rate} · ${rest}`;
    told.textContent = `${model.get("name")} · epoch ${epoch[at]}: ${losses} · ${now}`;
  }
  const events = ["change:history", "change:epochs"];
  for (const event of events) model.on(event, draw);
  draw();
  return () => events.forEach((event) => model.off(event, draw));
}

function render(context) {
  const views = { blend: renderBlend, stamps: renderStamps, picker: renderPicker, curve: renderCurve };
  return views[context.model.get("kind")](context);
}

// ------------------------------------------------------------------------------------------------ without a kernel

class Model {
  constructor(values) {
    this.values = values;
    this.handlers = {};
  }
  get = (name) => this.values[name];
  set(name, value) {
    if (this.values[name] === value) return;
    this.values[name] = value;
    for (const act of this.handlers[`change:${name}`] ?? []) act();
  }
  save_changes() {}
  on(event, act) {
    (this.handlers[event] ??= []).push(act);
  }
  off = (event, act) => (this.handlers[event] = (this.handlers[event] ?? []).filter((other) => other !== act));
}

const decoded = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

// The sky stamps that fill what central and companion leave empty, as blendkit.blends.recipe.sky_rows.
function skyRows(central, companion, size) {
  const mix = (id) => Number(((BigInt.asUintN(32, BigInt(id)) * 0x9e3779b1n) & 0xffffffffn) >> 16n);
  const first = (5 * mix(central) + 11 * mix(companion)) % size;
  return [(first + Math.floor(size / 2)) % size, first];
}

// Magnitudes and how far they are from the true ones, as `compared` in blendkit.widgets.answers.
function compared(flux, zeropoint, true_ = NaN, error = NaN) {
  if (!(flux > 0 && flux < Infinity)) return "not measured";
  const within = error >= 0 && error < Infinity ? ` ± ${((2.5 / Math.LN10) * (error / flux)).toFixed(2)}` : "";
  const text = `${(zeropoint - 2.5 * Math.log10(flux)).toFixed(2)}${within} mag`;
  if (!(true_ > 0)) return text;
  const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
  const [ratio, percent] = [flux / true_, 100 * (flux / true_ - 1)];
  const light = percent >= 1000 ? `${+ratio.toPrecision(3)} × the light` : `${signed(percent, 0)} % light`;
  const off = +(-2.5 * Math.log10(ratio)).toFixed(2); // -0 is +0.00
  return `${text}, Δmag\u00a0=\u00a0${signed(off, 2)} (${Math.abs(percent) < 2 ? "right within 2 %" : light})`;
}

// What runs in a worker of its own, so that no drag waits for a network: the pieces come once, then images.
function answering(ort) {
  const unpacked = (text) => {
    const packed = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
    return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };
  async function load({ wasm, model, shape }) {
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: await unpacked(wasm) }); // more need a server's headers
    const session = await ort.InferenceSession.create(new Uint8Array(await unpacked(model)));
    return (image) => session.run({ blend: new ort.Tensor("float32", image, [1, ...shape, 1]) });
  }
  async function answer(image) {
    const outputs = Object.entries(await (await run)(image));
    return Object.fromEntries(outputs.map(([name, { data }]) => [name, data]));
  }
  let [run, turn] = [null, Promise.resolve()];
  onmessage = ({ data }) => {
    if (data.model) run = load(data);
    else turn = turn.then(async () => postMessage(await answer(data.image).catch((error) => ({ error: String(error) }))));
  };
}

// The network that the page holds, if any: one for all of its explorers, started when it is first asked.
function network() {
  const holder = document.querySelector("script.bk-network");
  if (!holder || holder.network) return holder?.network;
  const { name, shape, weights, runtime, script, wasm, model } = JSON.parse(holder.textContent);
  const made = `${name} runs in this browser, by ${runtime}; the sha256 of its weights begins with ${weights}.`;
  const waiting = [];
  let worker = null;
  function start() {
    const code = new Blob([`${script}\n(${answering})(ort);`], { type: "text/javascript" });
    worker = new Worker(URL.createObjectURL(code)); // no module: on disk Chromium makes none of blobs
    worker.onmessage = ({ data }) => waiting.shift()(data);
    worker.onerror = () => waiting.splice(0).forEach((told) => told({ error: "this browser cannot run it." }));
    worker.postMessage({ wasm, model, shape });
  }
  async function ask(image) {
    if (!worker) start();
    worker.postMessage({ image });
    return new Promise((told) => waiting.push(told));
  }
  return (holder.network = { name, made, shape, ask });
}

// Each pixel in the colours of those whose light it is, grey where it is the sky's.
function paintShares(canvas, shape, grey, shares) {
  const size = grey.length;
  const colours = new Uint32Array(size);
  const [one, other] = COLOURS.map((css) => {
    const rgb = [5, 3, 1].map((at) => parseInt(css.slice(at, at + 2), 16));
    return rgb.map((value) => value / Math.max(...rgb)); // as bright as grey
  });
  for (let i = 0; i < size; i++) {
    const [a, b] = [shares[i], shares[size + i]];
    const [blue, green, red] = one.map((value, k) => grey[i] * (a * value + b * other[k] + (1 - a - b)));
    colours[i] = (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
  }
  paint(canvas, shape, colours.map((_, i) => i), colours);
}

const NOTE = "This page works without Python: drag the companion, move the sliders, choose galaxies. ";
const NO_NETWORK = "It has no SEP and no networks, and hides nothing to guess: for that, open the notebook.";
const NETWORK = "A network answers; for SEP, open the notebook.";
const WAIT = 20; // milliseconds without a move before the network is asked
const HIDDEN =
  "The truth is hidden, and so are all answers. Press 'surprise me' for a pair that you have not seen, write down " +
  "your guesses, then untick 'hide the truth'. A hint: both galaxies together have";
const WHICH_FLUX =
  "alone (true) is FLUX_AUTO: the light of the galaxy alone inside its Kron aperture, an ellipse. The catalogue's " +
  "magnitude counts all of its light. ";
const FLAGS = ["was trained on stamps like this one.", "knows no stamps like this one: leave its numbers alone."];

// The network's answers, beside the sliders and below the blend; `fluxes` gives those of the galaxies shown.
function renderAnswers({ asked, model, zeropoint, fluxes, side, view }) {
  const { name } = asked;
  const captions = {
    shares: `whose light is it, as ${name} sees it? ${OWNERS}`,
    "found-central": `central as ${name} separates it`,
    "found-companion": `companion as ${name} separates it`,
  };
  const pictures = Object.entries(captions).map(([kind, caption]) => figure(kind, caption));
  view.querySelector("figure:last-child").before(...pictures.map(({ node }) => node));
  const boxes = element("div");
  function tick(text, checked) {
    const box = element("input", { type: "checkbox", onchange: () => (tell(), ask()) });
    box.checked = checked;
    boxes.append(element("label", { class: "bk-box" }, box, text));
    return box;
  }
  const hide = tick("hide the truth", false);
  const ticked = tick(`ask ${name}`, true);
  const shares = tick("show whose light it is", false);
  const [verdict, table] = [element("div", { role: "status" }), element("table", { class: "bk-answers" })];
  const which = element("div", { class: "bk-answers" }, WHICH_FLUX, asked.made);
  side.append(boxes, verdict, table, which);
  let last = null; // the newest answer, and what it answers
  let [busy, changed] = [false, false];

  function shown() {
    const { settings, image } = view.firstChild.blendkit;
    const [central, companion] = fluxes();
    const truth = [central, companion * 10 ** (-0.4 * settings.dmag)];
    return { at: [...model.get("pair"), ...Object.values(settings)], image, truth };
  }

  async function ask() {
    changed = true;
    if (busy) return; // of the questions that come meanwhile only the newest counts
    busy = true;
    while (changed) {
      await new Promise((go) => setTimeout(go, WAIT));
      changed = false;
      const question = shown();
      const asking = ticked.checked && !hide.checked && asked.ask(question.image).catch((error) => ({ error }));
      if (asking) last = { ...question, ...(await asking) };
      tell();
    }
    busy = false;
  }

  function tell() {
    model.set("hide", hide.checked);
    const { truth } = shown();
    const answer = ticked.checked && !hide.checked && last && !last.error && last;
    const cells = (kind, scope, texts) => texts.map((text) => element(kind, scope ? { scope } : {}, text));
    const row = (head, texts) => element("tr", {}, ...cells("th", "row", [head]), ...cells("td", "", texts));
    const rows = [element("tr", {}, ...cells("th", "col", ["", "central", "companion"]))];
    rows.push(row("alone (true)", (answer || { truth }).truth.map((flux) => compared(flux, zeropoint))));
    const measured = (flux, k) => compared(flux, zeropoint, answer.truth[k], answer.flux_err[k]);
    const waiting = last?.error ? `does not answer: ${last.error}` : "loading the network, once…";
    if (ticked.checked) rows.push(row(name, answer ? [...answer.flux].map(measured) : [waiting, ""]));
    table.replaceChildren(...(hide.checked ? [] : rows));
    which.style.display = hide.checked ? "none" : "";
    verdict.replaceChildren();
    if (hide.checked) verdict.append(`${HIDDEN} ${compared(truth[0] + truth[1], zeropoint)}.`);
    if (answer) {
      const odd = answer.out_of_domain[0];
      const flag = element("b", { class: odd ? "bk-alarm" : "" }, `out_of_domain: ${odd ? "True" : "False"}.`);
      verdict.append(flag, ` ${name} ${FLAGS[odd]}`);
    }
    model.set("found", answer ? { at: answer.at, masks: answer.masks, masks_of: name } : {});
    view.firstChild.answer = answer; // read back by the tests
    for (const { node } of pictures) node.style.display = answer && shares.checked ? "" : "none";
    if (answer && shares.checked) draw(answer);
  }

  function draw({ image, images, shares }) {
    const [shape, noise, white, stretch] = ["shape", "sigma", "white", "stretch"].map((one) => model.get(one));
    const grey = (pixels) => levels(pixels, noise, white, stretch);
    const size = image.length;
    paintShares(pictures[0].canvas, shape, grey(image), shares);
    [0, 1].forEach((k) => paint(pictures[k + 1].canvas, shape, grey(images.subarray(k * size, (k + 1) * size))));
  }

  for (const { canvas, node } of pictures) canvas.setAttribute("aria-label", node.lastChild.textContent);
  for (const one of [...SETTINGS, "pair"]) model.on(`change:${one}`, ask);
  model.on("change:stretch", tell);
  queueMicrotask(tell);
  ask();
}

export function standalone(el, page) {
  const { shape, galaxies, start } = page;
  const size = shape[0] * shape[1];
  const [stamps, bank] = [page.stamps, page.bank].map((text) => floats(decoded(text)));
  const segments = bytes(decoded(page.segments));
  const slice = (array, k) => array.subarray(k * size, (k + 1) * size);
  const both = (array, [a, b]) => {
    const out = new array.constructor(2 * size);
    out.set(slice(array, a));
    out.set(slice(array, b), size);
    return new DataView(out.buffer);
  };
  const model = new Model({
    ...page.settings,
    shape,
    hide: false,
    called: page.called,
    found: {},
    turns: page.turns,
    limits: page.limits,
    sigma: page.sigma,
    field: decoded(page.field),
  });

  function choose(rows) {
    const [central, companion] = rows.map((row) => galaxies[row]);
    const values = {
      pair: [central.id, companion.id],
      mags: [central.mag, companion.mag],
      r_eff: [central.r_eff, companion.r_eff],
      white: central.white,
      sky: both(bank, skyRows(central.id, companion.id, bank.length / size)),
      segments: both(segments, rows),
      stamps: both(stamps, rows),
    };
    for (const [name, value] of Object.entries(values)) model.set(name, value);
  }

  const thumbs = decoded(page.thumbs);
  const names = galaxies.map(({ name }) => name);
  const pickers = ["central galaxy", "companion"].map(
    (label, which) => new Model({ label, names, thumbs, rows: [...names.keys()], index: start[which] }),
  );
  const message = element("div", { role: "alert", class: "bk-message" });
  let now = [];
  let busy = false;
  const titles = pickers.map((picker) => element("span", {}, picker.get("label")));
  function chosen(rows) {
    const same = rows[0] === rows[1];
    message.textContent = same ? "A galaxy cannot be blended with itself: choose two different ones." : "";
    if (!same) choose((now = rows));
    busy = true;
    pickers.forEach((picker, which) => {
      picker.set("index", now[which]);
      titles[which].textContent = `${picker.get("label")}: ${names[now[which]]}`;
    });
    busy = false;
  }
  chosen(start);
  const [controls, more] = [0, 1].map(() => element("div", { class: "bk-controls" }));
  for (const { name, label, min, max, step, tip, texts, plus } of page.sliders) {
    const output = element("output");
    const input = element("input", { type: "range", min, max, step, title: tip, "aria-label": label, "data-name": name });
    input.value = model.get(name);
    const sign = () => (plus && model.get(name) >= 0 ? "+" : "");
    const number = () => sign() + model.get(name).toFixed(String(step).includes(".") ? 1 : 0);
    const say = () => {
      output.textContent = texts ? texts[model.get(name)] : number();
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => model.set(name, +input.value));
    model.on(`change:${name}`, () => ((input.value = model.get(name)), say()));
    say();
    const place = ["dx", "dy", "dmag"].includes(name) ? controls : more;
    place.append(element("label", {}, element("span", {}, label), input, output));
  }
  const put = (rows, settings) => {
    chosen(rows);
    for (const [name, value] of Object.entries({ ...page.settings, ...settings })) model.set(name, value);
  };
  const reset = () => put(start, {});
  const surprise = () => {
    const rows = [0, 1].map(() => Math.floor(Math.random() * galaxies.length));
    if (rows[0] === rows[1]) rows[1] = (rows[0] + 1) % galaxies.length;
    const near = (limit) => Math.round((2 * Math.random() - 1) * Math.min(limit, 20));
    const [dx, dy] = page.limits.map(near);
    const plain = { dmag: 0, turn_central: 0, turn_companion: 0, extra_noise: 0, stretch: model.get("stretch") };
    put(rows, { dx, dy, ...plain });
  };
  const button = (text, act) => element("button", { type: "button", class: "bk-button", onclick: act }, text);
  const strips = pickers.map((picker, which) => {
    const strip = element("div", {}, titles[which]);
    renderPicker({ model: picker, el: strip });
    picker.on("change:index", () => busy || chosen(pickers.map((one) => one.get("index"))));
    return strip;
  });
  const box = element("div", { class: "bk-standalone" });
  const folded = element("details", {}, element("summary", {}, "more sliders"), more);
  const side = element("div", { class: "bk-side" }, controls, button("surprise me", surprise), button("reset", reset));
  side.append(folded, message);
  const asked = network();
  const fits = asked && String(asked.shape) === String(shape);
  const note = element("div", { class: "bk-note" }, NOTE, fits ? NETWORK : NO_NETWORK);
  box.append(note, ...strips, side);
  el.append(box);
  const view = box.appendChild(element("div"));
  renderBlend({ model, el: view });
  const fluxes = () => now.map((row) => galaxies[row].flux);
  if (fits) renderAnswers({ asked, model, zeropoint: page.zeropoint, fluxes, side, view });
}

export default { render };
