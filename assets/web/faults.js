// Suspected faults under a text: asked for beside the page, drawn as underlines, answered with a click or a key. Marks are
// elements within the text that add no character, so that offsets (code points, as the server counts) can be read back.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const toast = (told) => window.pingpan?.toast?.(told); // of desk.js, which may come after this
  const KEPT = "pingpan_faults", SEEN = "pingpan_seen", MOST_KEPT = 30, RETRY_MS = 10_000;

  const root = () => $("[data-faults]");
  const text = () => $("[data-faults] .text");
  const language = () => $("header.top")?.dataset.language || "zh";
  const cookie = (name) => decodeURIComponent((document.cookie.match(`(?:^|; )${name}=([^;]*)`) || [])[1] || "");
  const annotator = () => cookie("pingpan_annotator");
  const blind = () => cookie("pingpan_blind") === "1";
  const hidden = () => Boolean(root()?.dataset.hidden);
  const rowKey = () => `${root().dataset.run}:${root().dataset.item}`;

  // -- on or off: by person, in blind mode on its own (and off at first); a row that is still hidden is shown for itself alone
  const peeked = new Set();
  const settings = () => { try { return JSON.parse(localStorage.getItem(KEPT) || "{}"); } catch { return {}; } };
  const place = () => `${blind() ? "blind" : "open"}:${annotator()}`;
  const on = () => peeked.has(rowKey()) || (!hidden() && (settings()[place()] ?? !blind()));
  function toggle() {
    const next = !on();
    if (!next) peeked.delete(rowKey());
    if (!hidden()) localStorage.setItem(KEPT, JSON.stringify({ ...settings(), [place()]: next }));
    else if (next) peek();
    close();
    settle();
  }
  function peek() {
    peeked.add(rowKey());
    // Who has seen what judges suspect does not label blind any more (review.js asks this list).
    const seen = new Set(JSON.parse(sessionStorage.getItem(SEEN) || "[]")).add(rowKey());
    sessionStorage.setItem(SEEN, JSON.stringify([...seen].slice(-2000)));
  }

  // -- what the server knows of a row
  const panes = new Map();
  const paneKey = () => [rowKey(), language(), annotator(), blind(), hidden()].join("|");
  function keep(key, pane) {
    panes.delete(key);
    panes.set(key, pane);
    if (panes.size > MOST_KEPT) panes.delete(panes.keys().next().value);
  }
  const named = () => ({ language: language(), item: Number(root().dataset.item), run: root().dataset.run ? Number(root().dataset.run) : null });
  async function ask(path, body = null) {
    const { run, item } = named();
    const url = body ? `/faults/${path}` : `/faults/${path}?language=${language()}&item=${item}${run ? `&run=${run}` : ""}`;
    const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...named(), ...body }) } : {};
    const answer = await fetch(url, options);
    const reply = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(reply.message || root()?.dataset.offline);
    return reply;
  }
  const asking = new Set();
  let failed = { key: "", at: 0 };
  async function fetchPane() {
    const key = paneKey();
    if (asking.has(key) || (failed.key === key && performance.now() - failed.at < RETRY_MS)) return;
    asking.add(key);
    try {
      keep(key, await ask("row"));
      if (root() && paneKey() === key) settle();
    } catch { failed = { key, at: performance.now() }; /* the text stands there without marks; a later look asks again */ } finally { asking.delete(key); }
  }

  // -- drawing: whatever draws the page anew writes the plain text, and the marks are put back before it is painted
  let drawn = null;
  const whole = () => drawn && drawn.text === text() && drawn.first === text().firstChild && drawn.count === text().childNodes.length;
  function settle() {
    if (!root()) { drawn = null; return close(); }
    const key = paneKey();
    if (opened && opened.row !== rowKey()) close();
    if (!on()) return drawn && undraw();
    const pane = panes.get(key);
    if (!pane) return fetchPane();
    if (whole() && drawn.pane === pane && $(".fm-count", root())) return;
    const here = text(), top = here.scrollTop, focus = here.contains(document.activeElement) && document.activeElement !== here;
    here.innerHTML = pane.text;
    here.scrollTop = top;
    drawn = { pane, text: here, first: here.firstChild, count: here.childNodes.length };
    $(".fm-bar", root()).innerHTML = pane.bar;
    if (opened?.start !== undefined) reopen(focus);
  }
  function undraw() {
    if (whole()) { const plain = text().textContent; text().textContent = plain; }
    drawn = null;
    const bar = $(".fm-bar", root()), button = $(".fm-toggle", bar);
    if (!button) return;
    bar.replaceChildren(button);
    button.setAttribute("aria-pressed", "false");
  }

  // -- the little window: `opened` says of which row and place it is (a form has `span` instead)
  let opened = null;
  const windowBox = () => $("#fm-window");
  function close() {
    const back = windowBox()?.contains(document.activeElement);
    windowBox()?.remove();
    $$(".fm.now").forEach((mark) => { mark.classList.remove("now"); mark.removeAttribute("aria-describedby"); });
    if (back) (opened?.number !== undefined && head(opened.number) || text())?.focus({ preventScroll: true });
    opened = null;
  }
  function put(markup, rect) {
    windowBox()?.remove();
    const box = Object.assign(document.createElement("div"), { id: "fm-window", className: "fm-window", innerHTML: markup });
    box.setAttribute("role", "dialog");
    box.setAttribute("aria-label", root().dataset.window);
    document.body.append(box);
    stand(box, rect);
    return box;
  }
  function stand(box, rect) {
    const { offsetWidth: width, offsetHeight: height } = box, gap = 10;
    const below = rect.bottom + gap + height <= innerHeight || rect.top < height + gap;
    const right = Math.min(innerWidth - 8, Math.max(text().getBoundingClientRect().right, width + 16)); // beside the text, not over what stands there
    box.style.left = `${Math.max(8, Math.min(rect.left, right - width))}px`;
    box.style.top = `${Math.max(8, below ? Math.min(rect.bottom + gap, innerHeight - height - 8) : rect.top - gap - height)}px`;
  }
  const parts = (number) => $$(".fm", text()).filter((mark) => mark.dataset.fm.split(" ").includes(String(number)));
  const head = (number) => parts(number)[0];
  function open(number, { focus = true } = {}) {
    const mark = head(number), pane = drawn?.pane;
    if (!mark || !pane) return close();
    close();
    if (focus) mark.focus({ preventScroll: true });
    mark.scrollIntoView({ block: "nearest" });
    const { start, end, own, ownAnswer } = $("[data-start]", put(pane.windows[number], mark.getClientRects()[0])).dataset;
    parts(number).forEach((part) => part.classList.add("now"));
    mark.setAttribute("aria-describedby", "fm-window");
    opened = { row: rowKey(), number, start, end, own, ownAnswer };
  }
  function reopen(focus) {
    const { start, end } = opened;
    const number = drawn.pane.windows.findIndex((markup) => markup.includes(`data-start="${start}" data-end="${end}"`));
    if (number < 0) close();
    else open(number, { focus: focus || windowBox()?.contains(document.activeElement) });
  }
  function walk(direction) {
    const count = drawn?.pane.windows.length || 0;
    if (!count) return;
    const here = opened?.number ?? (direction > 0 ? -1 : count);
    open((here + direction + count) % count);
  }
  addEventListener("scroll", () => { const mark = opened?.number !== undefined && head(opened.number); if (mark && windowBox()) stand(windowBox(), mark.getClientRects()[0]); }, true);
  addEventListener("resize", () => { if (opened) close(); });

  // -- acts. None of them touches a label.
  let busy = false;
  async function act(path, body) {
    if (busy) return;
    if (!annotator()) return $("[data-who]").click();
    const key = paneKey(), row = rowKey();
    busy = true;
    try {
      const pane = await ask(path, body);
      for (const old of [...panes.keys()]) if (old.startsWith(`${row}|`)) panes.delete(old);
      keep(key, pane);
      if (!root() || rowKey() !== row) return;
      if (!on() && path === "missed") toast({ notice: root().dataset.kept });
      settle();
    } catch (error) { toast({ notice: error instanceof TypeError ? root()?.dataset.offline : error.message, error: true }); } finally { busy = false; }
  }
  function answer(kind) {
    if (!opened?.start || opened.ownAnswer === "missed") return;
    if (opened.ownAnswer === kind) return undo();
    act("answer", { start: Number(opened.start), end: Number(opened.end), answer: kind });
  }
  function undo() { if (opened?.own) act("undo", { answer: Number(opened.own) }); }

  // Code points from the text's beginning, of a selection without the blanks at its ends; null where none is in the text.
  function selected() {
    const selection = getSelection(), here = text();
    if (!selection.rangeCount || selection.isCollapsed || !selection.getRangeAt(0).intersectsNode(here)) return null;
    const range = selection.getRangeAt(0).cloneRange(), all = document.createRange();
    all.selectNodeContents(here);
    if (range.compareBoundaryPoints(Range.START_TO_START, all) < 0) range.setStart(all.startContainer, all.startOffset);
    if (range.compareBoundaryPoints(Range.END_TO_END, all) > 0) range.setEnd(all.endContainer, all.endOffset);
    const words = range.toString(), trimmed = words.trim();
    if (!trimmed) return null;
    const before = document.createRange();
    before.selectNodeContents(here);
    before.setEnd(range.startContainer, range.startOffset);
    const points = (string) => [...string].length;
    const start = points(before.toString()) + points(words.slice(0, words.indexOf(trimmed)));
    return { start, end: start + points(trimmed), words: trimmed, rect: range.getBoundingClientRect() };
  }
  async function missed() {
    const span = selected();
    if (!span) return toast({ notice: root().dataset.select });
    if (!annotator()) return $("[data-who]").click();
    const key = paneKey();
    if (!panes.has(key)) { const pane = await ask("row").catch(() => null); if (!pane || !root() || paneKey() !== key) return; keep(key, pane); }
    close();
    const box = put(panes.get(key).form, span.rect);
    $("q", box).textContent = [...span.words].length > 24 ? `${[...span.words].slice(0, 24).join("")}…` : span.words;
    stand(box, span.rect);
    opened = { row: rowKey(), span };
    $("[type=submit]", box).focus({ preventScroll: true });
  }
  document.addEventListener("submit", (event) => {
    if (!event.target.closest?.("#fm-window")) return;
    event.preventDefault();
    const { start, end } = opened.span, kind = event.target.elements.kind.value || null;
    close();
    act("missed", { start, end, kind });
  });

  const acts = {
    toggle, missed, close, undo, previous: () => walk(-1), next: () => walk(1), confirm: () => answer("confirm"), reject: () => answer("reject"),
  };
  document.addEventListener("mousedown", (event) => { if (event.target.closest?.("[data-fm-act=missed]")) event.preventDefault(); }); // the selection stays
  document.addEventListener("click", (event) => {
    if (!root()) return;
    const button = event.target.closest?.("[data-fm-act]"), mark = event.target.closest?.("[data-faults] .text .fm");
    if (button) return acts[button.dataset.fmAct]();
    if (mark && getSelection().isCollapsed) return open(Number(mark.dataset.fm.split(" ")[0]));
    if (opened && !event.target.closest?.("#fm-window")) close();
  });

  // -- keys: taken before the page's own keys look at them
  const keys = { f: toggle, "[": acts.previous, "]": acts.next, c: acts.confirm, x: acts.reject, m: missed };
  document.addEventListener("keydown", (event) => {
    // An input method that is composing sends the keys of its own choices (keyCode 229): they are not meant for the page.
    if (!root() || event.isComposing || event.keyCode === 229 || event.key === "Process" || event.defaultPrevented || $("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const take = () => { event.preventDefault(); event.stopPropagation(); };
    if (event.key === "Escape" && opened) { take(); return close(); }
    if (event.target.closest?.("input, textarea, select, [contenteditable=true], [role=listbox]")) return;
    const mark = event.target.closest?.(".fm[data-fm]");
    if (mark && (event.key === "Enter" || event.key === " ")) { take(); return open(Number(mark.dataset.fm.split(" ")[0])); }
    if (event.key === "Tab" && !event.shiftKey && mark && windowBox()) { take(); return $("button", windowBox())?.focus(); }
    if (event.target.closest?.("#fm-window") && event.key === "Enter") return event.stopPropagation(); // presses the button, saves no label
    const done = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!done || (/^[cx]$/i.test(event.key) && !opened?.start)) return;
    take();
    if (!event.repeat || "[]".includes(event.key)) done();
  }, true);

  new MutationObserver(settle).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-item", "data-hidden", "data-run"] });
})();
