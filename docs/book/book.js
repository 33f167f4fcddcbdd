// Explorers in frames: as high as they need, light or dark as the page is.
const frames = () => [...document.querySelectorAll("iframe.bk-live")];
const tell = (frame) => frame.contentWindow.postMessage({ theme: document.documentElement.dataset.theme }, "*");
addEventListener("message", ({ source, data }) => {
  const frame = frames().find((frame) => frame.contentWindow === source);
  if (!frame || !data.height) return;
  if (!frame.dataset.told) tell(frame);
  frame.dataset.told = true;
  frame.style.height = `${data.height + 2}px`; // with its border
});
addEventListener("load", () => frames().forEach(tell));
new MutationObserver(() => frames().forEach(tell)).observe(document.documentElement, {
  attributeFilter: ["data-theme"],
});
