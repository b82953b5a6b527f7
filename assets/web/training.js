// The training page: its parts are asked for again while something runs and patched into place, so that nothing jumps; what is
// chosen and typed goes into the URL at once, and the plan (memory, command, faults) follows. No state lives here.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const pingpan = (window.pingpan ||= {});
  const LIVE_MS = 1_000, IDLE_MS = 5_000, TYPING_MS = 250, POLLED = ["jobs", "job", "candidates", "cards"];

  const root = () => $("[data-training]");
  const language = () => $("header.top")?.dataset.language || "zh";
  const broken = () => $("header.top")?.dataset.broken || "";
  const named = () => /(?:^|; )pingpan_annotator=[^;]/.test(document.cookie);

  // -- patching: the old content becomes the new one, node by node; what the reader opened, typed, focused or scrolled stays
  const KEPT = new Set(["open", "aria-invalid", "data-busy"]);
  const keyOf = (node) => node.dataset?.key;
  function patch(place, html) {
    const tails = $$("[data-tail]", place).filter((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 12);
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    children(place, fresh.content);
    tails.forEach((log) => { log.scrollTop = log.scrollHeight; });
  }
  function children(old, fresh) {
    const keyed = new Map([...old.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
    let at = old.firstChild;
    for (const node of [...fresh.childNodes]) {
      const key = keyOf(node);
      const match = key ? keyed.get(key) : at && !keyOf(at) && at.nodeName === node.nodeName ? at : null;
      if (!match || match.nodeName !== node.nodeName) { old.insertBefore(node, at); continue; }
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      morph(match, node);
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }
  function morph(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) { if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue; return; }
    if (old.nodeName === "TEMPLATE") { if (old.innerHTML !== fresh.innerHTML) old.innerHTML = fresh.innerHTML; return; }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !KEPT.has(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (!(name === "open" && old.nodeName === "DETAILS") && old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.classList.contains("pointer")) return;
    children(old, fresh);
    if (old === document.activeElement) return;
    if (old.nodeName === "SELECT" && old.value !== fresh.value) old.value = fresh.value;
    if (old.nodeName === "INPUT" && old.type !== "file") {
      if (old.value !== fresh.value) old.value = fresh.value;
      if (old.checked !== fresh.checked) old.checked = fresh.checked;
    }
  }

  // -- asking for parts
  let digests = new Map(), failures = 0, polling = false;
  async function refresh(parts) {
    const page = root(), asked = location.search;
    if (!page) return;
    const known = parts.map((part) => `${part}:${digests.get(part) || ""}`).join(",");
    const where = new URLSearchParams({ language: language(), query: asked, known });
    const answer = await fetch(`/training/fragments?${where}`);
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).message || broken());
    const reply = await answer.json();
    if (asked !== location.search || page !== root()) return; // an answer to an older URL
    page.dataset.live = reply.live ? "1" : "";
    for (const [part, { digest, html }] of Object.entries(reply.parts)) {
      digests.set(part, digest);
      const place = $(`[data-part="${part}"]`);
      if (place) patch(place, html);
    }
    faults();
    pointAgain();
  }
  async function poll() {
    try {
      if (root() && !document.hidden && !polling) { polling = true; await refresh(POLLED); failures = 0; }
    } catch { if (++failures === 3) pingpan.toast({ notice: broken(), error: true }); }
    polling = false;
    setTimeout(poll, root()?.dataset.live ? LIVE_MS : IDLE_MS);
  }
  setTimeout(poll, LIVE_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && root() && !polling) refresh(POLLED).catch(() => {}); });
  const soon = (parts) => refresh(parts).catch((error) => pingpan.toast({ notice: error.message, error: true }));

  // The whole page anew, for another URL or after an act.
  let turn = 0;
  pingpan.redrawTraining = async () => {
    const asked = location.search, mine = ++turn, host = $("[data-training-host]");
    try {
      const answer = await fetch(`/training/page?${new URLSearchParams({ language: language(), query: asked })}`);
      const reply = await answer.json();
      if (!answer.ok) throw new Error(reply.message || broken());
      if (mine !== turn || !host) return;
      if (asked !== location.search) return pingpan.redrawTraining(); // something was chosen or typed meanwhile: it is not drawn over
      const before = $("[data-candidate].on")?.dataset.candidate;
      patch(host, reply.page);
      settle();
      const opened = $("[data-candidate].on");
      if (opened && opened.dataset.candidate !== before) opened.scrollIntoView({ block: "nearest" });
    } catch (error) { if (mine === turn) pingpan.toast({ notice: error.message || broken(), error: true }); }
  };

  // -- what is chosen and typed stands in the URL
  function write(changes) {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    history.replaceState(null, "", url.pathname + url.search);
    root().dataset.query = location.search;
  }
  let typing = 0;
  const later = (parts, wait) => { clearTimeout(typing); typing = setTimeout(() => soon(parts), wait); };
  function took(field, wait) {
    if (field.dataset.setting !== undefined) {
      write({ [`set.${field.dataset.setting}`]: field.value === field.dataset.default ? null : field.value });
      return later(field.type === "radio" ? ["cards", "plan"] : ["plan"], wait);
    }
    if (field.dataset.list !== undefined) {
      const boxes = $$(`[data-list="${field.dataset.list}"]`), on = boxes.filter((box) => box.checked);
      // All of them is the same as no choice; none of them is not offered.
      if (!on.length) field.checked = true;
      const values = (on.length ? on : [field]).map((box) => box.value);
      write({ [field.dataset.list]: values.length === boxes.length ? null : values.join("\n"), page: null });
      return later(["data", "plan"], wait);
    }
    if (field.dataset.make !== undefined) {
      const value = field.type === "checkbox" ? (field.checked ? "1" : "") : field.value.trim();
      write({ [field.dataset.make]: value === (field.dataset.default || "") ? null : value, page: null });
      return later(["data"], wait);
    }
    if (field.dataset.import !== undefined) { // where the file goes says how it is read
      const box = field.closest(".tr-import"), skip = $("[data-import=skip]", box).checked;
      $("[data-upload]", box).dataset.upload = `/training/import/${$("select", box).value}/${skip ? "skip" : "all"}`;
      return undefined;
    }
    if (field.dataset.pair !== undefined) {
      const values = field.value.split("\n");
      write(Object.fromEntries(field.dataset.pair.split(" ").map((name, place) => [name, values[place] || null])));
      return later(["candidates", "plan"], 0);
    }
  }
  document.addEventListener("input", (event) => {
    if (root() && !event.isComposing && event.target.matches?.("textarea, input:not([type=radio], [type=checkbox], [type=file])")) took(event.target, TYPING_MS);
  });
  document.addEventListener("change", (event) => {
    if (root() && event.target.matches?.("select, input[type=radio], input[type=checkbox]")) took(event.target, 0);
  });
  function faults() {
    const wrong = new Set($$("[data-fault]").map((line) => line.dataset.fault));
    $$("[data-field]").forEach((place) => {
      const field = $("[data-setting]", place);
      if (!field) return;
      if (wrong.has(place.dataset.field)) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
    });
  }

  // -- acts
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-training] button[data-named], dialog button[data-named]");
    if (!button || named()) return;
    event.preventDefault();
    event.stopPropagation();
    pingpan.askName(() => button.click());
  }, true);
  async function send(source, url, body) {
    if (source.dataset.busy) return null;
    source.dataset.busy = "1";
    source.classList.add("busy");
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Accept-Language": language() },
        body: JSON.stringify(body),
      });
      const reply = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error(reply.message || broken());
      return reply;
    } finally {
      delete source.dataset.busy;
      source.classList.remove("busy");
    }
  }
  function done(reply) {
    if (!reply) return;
    pingpan.toast(reply);
    if (!reply.url || new URL(reply.url, location.href).search === location.search) return pingpan.go();
    pingpan.visit(reply.url);
    scrollTo({ top: 0 }); // what was started stands above
  }
  const fields = (form) => Object.fromEntries($$("[name]", form).filter((one) => one.type !== "radio").map((one) => [one.name, one.value]));
  document.addEventListener("click", async (event) => {
    const target = event.target;
    if (!target.closest?.("[data-training]")) return;
    const sent = target.closest("button[data-send]"), asked = target.closest("[data-ask]"), copied = target.closest("[data-copy]");
    if (asked) return ask(asked.dataset.ask);
    if (copied) return copy(copied);
    if (!sent) return;
    const form = sent.closest("form");
    if (form && !form.reportValidity()) return;
    try { done(await send(sent, sent.dataset.send, { query: location.search, ...(form ? fields(form) : {}) })); }
    catch (error) { pingpan.toast({ notice: error.message, error: true }); }
  });
  async function copy(button) {
    const words = $(button.dataset.copy)?.textContent || "";
    try { await navigator.clipboard.writeText(words); }
    catch { // without https the clipboard is closed: the old way
      const box = Object.assign(document.createElement("textarea"), { value: words });
      document.body.append(box);
      box.select();
      document.execCommand("copy");
      box.remove();
    }
    pingpan.toast({ notice: root().dataset.copied });
  }

  // -- dialogs live outside of what the server draws anew
  let shown = null;
  function ask(key) {
    const template = $(`template[data-dialog="${key}"]`);
    if (shown || !template) return;
    shown = Object.assign(document.createElement("dialog"), { className: "rv-dialog tr-dialog" });
    shown.append(template.content.cloneNode(true));
    const close = Object.assign(document.createElement("button"), { type: "button", className: "rv-close", textContent: "×" });
    close.setAttribute("aria-label", $("header.top")?.dataset.close || "×");
    close.addEventListener("click", () => shown.close());
    shown.append(close);
    shown.addEventListener("close", () => { shown?.remove(); shown = null; });
    shown.addEventListener("click", (event) => { if (event.target === shown) shown.close(); });
    $("form", shown)?.addEventListener("submit", submit);
    document.body.append(shown);
    shown.showModal();
  }
  async function submit(event) {
    event.preventDefault();
    const form = event.target, box = form.closest("dialog"), trouble = $(".error", box);
    if (!named()) { box.close(); return pingpan.askName(); }
    try {
      const reply = await send($("[type=submit]", form), form.dataset.act, fields(form));
      box.close();
      done(reply);
    } catch (error) { trouble.hidden = false; trouble.textContent = error.message; }
  }

  // -- the pointer in the curves: one step, in all plots of the job, with its values
  let pointed = null;
  const read = new WeakMap();
  function dataOf(svg) {
    const text = svg.dataset.plot, kept = read.get(svg);
    if (kept?.text === text) return kept.series;
    const series = JSON.parse(text);
    read.set(svg, { text, series });
    return series;
  }
  const nearest = (points, step) => points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
  const steps = (svg) => [...new Set(dataOf(svg).flatMap((series) => series.points.map((point) => point[0])))].sort((a, b) => a - b);
  function stepAt(svg, event) {
    const box = svg.getBoundingClientRect(), x = ((event.clientX - box.left) * svg.viewBox.baseVal.width) / box.width;
    const points = dataOf(svg).flatMap((series) => series.points);
    return points.reduce((best, point) => (Math.abs(point[2] - x) < Math.abs(best[2] - x) ? point : best))[0];
  }
  const SVG = "http://www.w3.org/2000/svg";
  const shape = (name, attributes) => { const made = document.createElementNS(SVG, name); Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value)); return made; };
  function point(svg, step) {
    pointed = { svg, step };
    const lines = [];
    let x = 0;
    $$("svg.curves").forEach((plot) => {
      const found = dataOf(plot).map((series) => ({ series, at: nearest(series.points, step) }));
      x = found.reduce((best, one) => (Math.abs(one.at[0] - step) < Math.abs(best.at[0] - step) ? one : best)).at[2];
      const box = plot.viewBox.baseVal;
      $(".pointer", plot).replaceChildren(
        shape("line", { x1: x, x2: x, y1: 12, y2: box.height - 26 }),
        ...found.map(({ series, at }) => { const dot = shape("circle", { cx: at[2], cy: at[3], r: 4 }); dot.setAttribute("class", series.line); return dot; }),
      );
      const title = $("figcaption b", plot.closest("figure")).textContent;
      lines.push(...found.map(({ series, at }) => `${title} · ${series.name}: ${at[1]}${at[0] === step ? "" : ` @${at[0]}`}`));
    });
    tip(svg, `${step}`, lines, x);
  }
  function tip(svg, head, lines, x) {
    const box = $(".tr-tip") || document.body.appendChild(Object.assign(document.createElement("div"), { className: "tr-tip" }));
    box.setAttribute("role", "status");
    const words = [head, ...lines].map((line, place) => Object.assign(document.createElement(place ? "span" : "b"), { textContent: line }));
    box.replaceChildren(...words);
    const place = svg.getBoundingClientRect(), left = place.left + (x * place.width) / svg.viewBox.baseVal.width;
    box.style.left = `${Math.min(Math.max(8, left + 14), innerWidth - box.offsetWidth - 8)}px`;
    box.style.top = `${Math.max(8, place.top + 8)}px`;
  }
  function unpoint() {
    pointed = null;
    $(".tr-tip")?.remove();
    $$("svg.curves .pointer").forEach((group) => group.replaceChildren());
  }
  function pointAgain() { if (pointed) { if (pointed.svg.isConnected) point(pointed.svg, pointed.step); else unpoint(); } }
  document.addEventListener("pointermove", (event) => {
    const svg = event.target.closest?.("svg.curves");
    if (svg) point(svg, stepAt(svg, event));
    else if (pointed && document.activeElement !== pointed.svg) unpoint();
  });
  document.addEventListener("keydown", (event) => {
    const svg = event.target.closest?.("svg.curves");
    if (!svg || event.isComposing) return;
    if (event.key === "Escape") return unpoint();
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    const all = steps(svg), here = pointed ? all.findIndex((step) => step >= pointed.step) : -1;
    const place = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : Math.min(all.length - 1, Math.max(0, (here < 0 ? (way > 0 ? -1 : all.length) : here) + way));
    point(svg, all[place]);
  });
  document.addEventListener("focusout", (event) => { if (event.target.matches?.("svg.curves")) unpoint(); });
  addEventListener("scroll", () => pointAgain(), { passive: true });

  // -- after the server drew the page
  let drawnAt = "";
  function settle() {
    const page = root();
    if (!page || page.dataset.at === drawnAt) return;
    drawnAt = page.dataset.at;
    pingpan.go = pingpan.redrawTraining; // the header says so too, where this script was there before it
    digests = new Map(JSON.parse(page.dataset.digests || "[]"));
    if (page.dataset.query !== location.search) return; // an answer to an older URL: the page asks anew by itself
    // What the server chose where the URL names nothing: a shared link shows the same job and snapshot later.
    const search = new URLSearchParams(location.search);
    const chosen = Object.entries(JSON.parse(page.dataset.pin || "{}")).filter(([name, value]) => value && !search.get(name));
    if (chosen.length) write(Object.fromEntries(chosen));
    $$("[data-tail]", page).forEach((log) => { log.scrollTop = log.scrollHeight; });
    faults();
  }
  let settling = 0;
  new MutationObserver(() => { cancelAnimationFrame(settling); settling = requestAnimationFrame(settle); })
    .observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-at"] });
})();
