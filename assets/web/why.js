// "Why?": asks a judge's model for its words on one row and shows them as they are written. What was said is kept by row and
// judge while the page lives, because the page draws its cards anew now and then.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const said = new Map(); // by run, item and judge: { text, state: waits | speaks | done | fails }
  const language = () => $("header.top")?.dataset.language || "zh";

  function draw(box) {
    const kept = said.get(box.dataset.whyBox), place = $("[data-why-said]", box), button = $("[data-why]", box);
    if (!kept || !place) return;
    const text = kept.text, shown = kept.state === "done" ? "why-said" : `why-said ${kept.state}`;
    if (place.textContent !== text) place.textContent = text;
    if (place.className !== shown) place.className = shown;
    if (place.hidden) place.hidden = false;
    const busy = kept.state === "waits" || kept.state === "speaks";
    if (button.disabled !== busy) button.disabled = busy;
  }
  const drawAll = () => $$("[data-why-box]").forEach(draw);

  async function ask(button) {
    const { run, item, judge } = button.dataset, key = `${run}:${item}:${judge}`;
    if (["waits", "speaks"].includes(said.get(key)?.state)) return;
    const mine = { text: "…", state: "waits" };
    said.set(key, mine);
    drawAll();
    try {
      const body = JSON.stringify({ language: language(), run: Number(run), item: Number(item), judge });
      const answer = await fetch("/why", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).message || `HTTP ${answer.status}`);
      for await (const line of lines(answer.body)) take(mine, line);
      if (mine.state !== "fails") mine.state = "done";
    } catch (error) {
      Object.assign(mine, { text: error.message, state: "fails" });
    }
    drawAll();
  }
  async function* lines(stream) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) if (part) yield JSON.parse(part);
    }
  }
  function take(mine, line) {
    if (line.wait) Object.assign(mine, { text: line.wait, state: "waits" });
    else if (line.error) Object.assign(mine, { text: line.error, state: "fails" });
    else if (line.text) Object.assign(mine, { text: (mine.state === "speaks" ? mine.text : "") + line.text, state: "speaks" });
    drawAll();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-why]");
    if (button) ask(button);
  });
  // W asks the first judge that has said nothing yet, then the next.
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229 || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
    if (event.key.toLowerCase() !== "w" || $("dialog[open]") || event.target.closest?.("input, textarea, select, [contenteditable=true]")) return;
    const next = $$("[data-why]").find((button) => !said.has(button.closest("[data-why-box]").dataset.whyBox) && button.offsetParent);
    if (!next) return;
    event.preventDefault();
    next.scrollIntoView({ block: "nearest" });
    ask(next);
  });

  let due = false;
  new MutationObserver(() => {
    if (due || !said.size) return;
    due = true;
    requestAnimationFrame(() => { due = false; drawAll(); });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
