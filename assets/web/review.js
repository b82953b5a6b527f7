// The review page: keys and clicks become labels, skips and undos; the next item is fetched ahead, so that going on is a swap;
// saving goes on beside it, and what could not be saved is kept in this browser and sent again. The page's state is its URL.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const pingpan = (window.pingpan ||= {});
  const PULSE_MS = 10_000, SLOWEST_RETRY_MS = 30_000, ORPHAN_MS = 15_000;
  const OUTBOX = "pingpan_outbox", SEEN = "pingpan_seen", TAB = "pingpan_tab";

  const root = () => $("[data-review]");
  const form = () => $("[data-form]");
  const language = () => $("header.top")?.dataset.language || "zh";
  const said = (name) => root()?.dataset[name] || "";
  const itemNow = () => Number(form()?.dataset.for || 0);
  const queueKey = (query = location.search) => { const search = new URLSearchParams(query); ["item", "page"].forEach((name) => search.delete(name)); return search.toString(); };
  const tab = sessionStorage.getItem(TAB) || String(Math.random()).slice(2);
  sessionStorage.setItem(TAB, tab);

  // -- cookies: who, and whether blind
  const cookie = (name) => decodeURIComponent((document.cookie.match(`(?:^|; )${name}=([^;]*)`) || [])[1] || "");
  const setCookie = (name, value) => { document.cookie = `${name}=${encodeURIComponent(value)}; path=/; max-age=31536000; samesite=lax`; };
  const annotator = () => cookie("pingpan_login") || cookie("pingpan_annotator");

  // -- requests
  class Refused extends Error {}
  async function ask(path, body = null) {
    const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ language: language(), ...body }), keepalive: true };
    const url = body ? `/review/${path}` : `/review/${path.split("?")[0]}?language=${language()}&query=${encodeURIComponent(path.slice(path.indexOf("?")))}`;
    const answer = await fetch(url, options || {});
    const reply = await answer.json().catch(() => ({}));
    if (answer.ok) return reply;
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) throw new Refused(reply.message || String(answer.status));
    throw new Error(reply.message || String(answer.status));
  }

  // -- what the person is told
  let told = { text: "", kind: "" };
  function say(text, kind = "ok") { told = { text, kind, item: itemNow() }; drawStatus(); }
  function drawStatus() {
    const place = $(".rv-status");
    if (!place) return;
    const waiting = outbox.filter((entry) => !entry.refused), refused = outbox.find((entry) => entry.refused);
    const failing = waiting.some((entry) => entry.tries);
    const text = refused ? `${refused.external}: ${refused.refused}` : failing ? said("failed").replace("{count}", waiting.length) : told.text;
    const kind = refused || failing ? "bad" : told.kind;
    const key = JSON.stringify([text, kind, failing, refused?.id]);
    if (place.dataset.drawn === key) return;
    place.dataset.drawn = key;
    place.className = `rv-status ${text ? kind : ""}`;
    place.textContent = text;
    if (failing || refused) place.append(button(said("retry"), retryNow));
    if (refused) place.append(button(said("drop"), () => drop(refused)));
  }
  function button(text, act) {
    const made = Object.assign(document.createElement("button"), { type: "button", className: "btn", textContent: text });
    made.addEventListener("click", act);
    return made;
  }

  // -- the outbox: labels and skips on their way to the server, in the order they were given
  let outbox = [], sending = null, timer = 0;
  const stored = () => { try { return JSON.parse(localStorage.getItem(OUTBOX) || "[]"); } catch { return []; } };
  function keep() {
    const own = new Set(outbox.map((entry) => entry.id));
    localStorage.setItem(OUTBOX, JSON.stringify([...stored().filter((entry) => entry.tab !== tab && !own.has(entry.id)), ...outbox]));
  }
  function adopt() {
    outbox = stored().filter((entry) => entry.tab === tab || Date.now() - entry.at > ORPHAN_MS).map((entry) => ({ ...entry, tab, tries: 0 }));
    if (outbox.length) { keep(); flush(); }
  }
  function put(path, body, external) {
    outbox.push({ id: `${tab}-${Date.now()}-${Math.random()}`, tab, at: Date.now(), path, body, external, tries: 0 });
    keep();
    return flush();
  }
  function drop(entry) { outbox = outbox.filter((other) => other !== entry); keep(); drawStatus(); }
  function retryNow() { outbox.forEach((entry) => { delete entry.refused; }); clearTimeout(timer); flush(); }
  function flush() { sending ||= send().finally(() => { sending = null; }); return sending; }
  async function send() {
    clearTimeout(timer);
    for (let entry = outbox.find((one) => !one.refused); entry; entry = outbox.find((one) => !one.refused)) {
      try {
        const reply = await ask(entry.path, { ...entry.body, key: entry.id });
        drop(entry);
        told = { text: reply.told, kind: "ok", item: itemNow() };
        mark(reply.item, entry.body.label === undefined ? "–" : `✓ ${entry.body.label}`);
        if (queueKey(entry.body.query) === queueKey()) apply(reply.pulse);
        if (entry.body.label !== undefined && form()?.dataset.hidden && entry.body.item === itemNow()) reveal(entry.body.item);
      } catch (error) {
        entry.tries += 1;
        if (error instanceof Refused) { entry.refused = error.message; leaving = 0; }
        keep();
        drawStatus();
        if (error instanceof Refused) continue;
        timer = setTimeout(flush, Math.min(SLOWEST_RETRY_MS, 500 * 2 ** entry.tries));
        return;
      }
      drawStatus();
    }
  }
  addEventListener("online", () => flush());
  addEventListener("beforeunload", (event) => { if (outbox.length) { event.preventDefault(); event.returnValue = said("gone"); } });

  // -- one item ahead
  let ahead = null;
  const aheadKey = () => `${queueKey()} ${cookie("pingpan_blind")} ${annotator()}`;
  function fetchAhead() {
    const after = itemNow();
    if (!after || !annotator() || document.hidden) return;
    const key = aheadKey();
    if (ahead?.after === after && ahead.key === key) return;
    forget();
    const mine = { after, key, panes: null, promise: null };
    mine.promise = ask("next", { query: location.search, after, passed: pending() }).then((panes) => { mine.panes = panes; return panes; });
    mine.promise.catch(() => { if (ahead === mine) ahead = null; });
    ahead = mine;
  }
  const done = [];
  const pending = () => [...new Set([...outbox.map((entry) => entry.body.item), ...done.slice(-20)])];
  function forget() {
    const item = ahead?.panes?.item;
    if (item && item !== itemNow()) release([item]);
    ahead = null;
  }
  function release(items) { if (annotator()) ask("release", { query: location.search, items }).catch(() => {}); }
  addEventListener("pagehide", () => {
    const items = [itemNow(), ahead?.panes?.item].filter(Boolean);
    if (root() && items.length && annotator())
      navigator.sendBeacon("/review/release", new Blob([JSON.stringify({ language: language(), query: location.search, items })], { type: "application/json" }));
  });

  // -- what is shown. Whatever was asked for last wins: an answer to an older wish never takes the row from under the keys.
  let turn = 0;
  let leaving = 0; // the row whose next one, or whose votes, are on their way: a second Enter or S means nothing
  function show(panes, { replace = false } = {}) {
    const before = itemNow();
    leaving = 0;
    $(".rv-item").innerHTML = panes.middle;
    $(".rv-form").innerHTML = panes.form;
    $(".rv-item").scrollTop = 0;
    $(".rv-side").scrollTop = 0;
    const kept = new URLSearchParams(location.search).get("page");
    const search = new URLSearchParams(panes.search);
    if (kept) search.set("page", kept);
    history[replace || before === panes.item ? "replaceState" : "pushState"](null, "", `${location.pathname}?${search}`);
    root().dataset.query = root().dataset.search = location.search;
    root().classList.remove("queue-open");
    if (before && before !== panes.item && !done.includes(before) && before !== ahead?.panes?.item) release([before]);
    arrived();
    if (panes.item && !$(`[data-entry="${panes.item}"]`)) redrawQueue();
  }
  function arrived() {
    const item = itemNow();
    $$(".q.on").forEach((entry) => { if (entry.dataset.entry !== String(item)) { entry.classList.remove("on"); $("a", entry).removeAttribute("aria-current"); } });
    const entry = $(`[data-entry="${item}"]`);
    if (entry) { entry.classList.add("on"); $("a", entry).setAttribute("aria-current", "true"); entry.scrollIntoView({ block: "nearest" }); }
    const here = form();
    if (here && !here.dataset.hidden && !here.dataset.held) see(item);
    pickedRubric();
    if (matchMedia("(max-width: 899px)").matches) scrollTo(0, 0);
    fetchAhead();
  }
  const seenItems = () => new Set(JSON.parse(sessionStorage.getItem(SEEN) || "[]"));
  function see(item) { const seen = seenItems().add(`${root().dataset.run}:${item}`); sessionStorage.setItem(SEEN, JSON.stringify([...seen].slice(-2000))); }
  async function redraw() {
    const asked = location.search, mine = ++turn, before = itemNow();
    leaving = 0;
    try {
      const reply = await ask(`page${asked}`);
      if (mine !== turn) return redrawQueue(); // another row is shown by now; what is listed has changed all the same
      if (asked !== location.search) return redraw();
      pingpan.patch($("[data-review-host]"), reply.page);
      settle();
      if (!root() || itemNow() === before) return;
      [".rv-item", ".rv-side"].forEach((pane) => { $(pane).scrollTop = 0; });
      if (before) release([before]);
    } catch (error) { if (mine === turn) say(error.message, "bad"); }
  }
  pingpan.redraw = redraw;
  // From the start: until the header is mounted, going anew would be a reload, which takes the row from under the keys.
  if (/\/review\/?$/.test(location.pathname)) pingpan.go = () => redraw();
  async function redrawQueue() {
    const asked = location.search;
    const reply = await ask(`queue${asked}`).catch(() => null);
    if (!reply || !$(".rv-queue")) return;
    if (asked !== location.search) return redrawQueue();
    pingpan.patch($(".rv-queue"), reply.queue);
    $(`[data-entry="${itemNow()}"]`)?.scrollIntoView({ block: "nearest" });
  }
  function mark(item, words) {
    const entry = $(`[data-entry="${item}"]`);
    if (!entry) return;
    entry.classList.toggle("done", Boolean(words));
    $(".q-done", entry).textContent = words;
  }
  function apply(pulse) {
    if (!pulse || !root()) return;
    const progress = $(".rv-progress"), open = $("details[open]", progress);
    if (progress && !open) progress.innerHTML = pulse.progress;
    const tabs = $(".rv-queue .rv-views");
    if (tabs) tabs.innerHTML = pulse.tabs;
    $$("[data-entry]").forEach((entry) => {
      const words = pulse.leases[entry.dataset.entry] || "";
      entry.classList.toggle("taken", Boolean(words));
      if ($(".q-lease", entry).textContent !== words) $(".q-lease", entry).textContent = words;
    });
  }
  setInterval(async () => {
    if (!root() || document.hidden || !annotator()) return;
    const asked = location.search;
    const pulse = await ask(`pulse${asked}`).catch(() => null);
    if (pulse && asked === location.search) apply(pulse);
  }, PULSE_MS);

  async function open(item, options) {
    if (item === itemNow()) return;
    const mine = ++turn;
    leaving = 0;
    if (ahead?.panes?.item === item && ahead.key === aheadKey()) return show(ahead.panes, options);
    const search = new URLSearchParams(location.search);
    search.set("item", item);
    try {
      const panes = await ask(`panes?${search}`);
      if (mine === turn) show(panes, options);
      else if (item !== itemNow() && item !== ahead?.panes?.item) release([item]);
    } catch (error) { if (mine === turn) say(error.message, "bad"); }
  }
  async function redrawItem(item) {
    const mine = ++turn, search = new URLSearchParams(location.search);
    search.set("item", item);
    const panes = await ask(`panes?${search}`);
    if (mine !== turn || itemNow() !== item) return false;
    show(panes, { replace: true });
    return true;
  }
  // A label given blind is with the server: show what the judges said of the row.
  let given = 0;
  async function reveal(item) {
    given = item;
    try {
      if (await redrawItem(item)) say(said("revealed"));
    } catch (error) { if (itemNow() === item) { leaving = 0; say(error.message, "bad"); } }
  }
  async function goOn() {
    const from = itemNow(), mine = ++turn;
    const ready = ahead?.after === from && ahead.key === aheadKey() ? ahead : null;
    if (ready?.panes) return show(ready.panes);
    leaving = from;
    if (!ready) fetchAhead();
    say(said("waiting"), "wait");
    try {
      const panes = await (ahead ? ahead.promise : ask("next", { query: location.search, after: from, passed: pending() }));
      if (mine === turn && itemNow() === from) { show(panes); if (told.kind === "wait") say(""); }
    } catch (error) { if (mine === turn) { leaving = 0; say(error.message, "bad"); } }
  }

  // -- acts
  const picked = () => { const level = $("[data-level][aria-pressed=true]"); return level ? Number(level.dataset.level) : null; };
  function pick(level) {
    if (form()?.dataset.taken) return;
    $$("[data-level]").forEach((one) => one.setAttribute("aria-pressed", String(level !== null && Number(one.dataset.level) === level)));
    draft = { item: itemNow(), level };
    if (told.kind !== "ok") say("");
    pickedRubric();
  }
  // The server may draw the page anew between the choice and Enter: the choice stays.
  let draft = { item: 0, level: null };
  function restore() { if (draft.item === itemNow() && draft.level !== null && !form()?.dataset.held && picked() === null) pick(draft.level); }
  function pickedRubric() {
    const level = picked();
    $$("[data-rubric]").forEach((line) => line.classList.toggle("on", Number(line.dataset.rubric) === level));
    $(".rv-rubric")?.classList.toggle("picked", level !== null);
  }
  const flags = () => $$("[data-flag][aria-pressed=true]").map((one) => one.dataset.flag);
  const note = () => $("[data-note]")?.value.trim() || "";
  const untouched = () => { const box = $("[data-note]"); return note() === (box?.defaultValue.trim() || "") && !$("[data-flag][data-touched]"); };
  function save() {
    const here = form();
    if (!here || here.dataset.taken) return;
    const level = picked(), item = itemNow();
    if (leaving === item) return;
    if (here.dataset.hidden && given === item) return reveal(item);
    if (level === null) return say(said("pick"), "warn");
    if (!annotator()) return askName(save);
    if (here.dataset.held === String(level) && untouched() && !here.dataset.adjudicate) return goOn();
    const blind = Boolean(here.dataset.hidden) && !seenItems().has(`${root().dataset.run}:${item}`);
    const body = { query: location.search, item, label: level, note: note(), flags: flags(), blind, adjudicate: Boolean(here.dataset.adjudicate) };
    done.push(item);
    mark(item, `… ${level}`);
    put("label", body, here.dataset.external);
    told = { text: said("saving"), kind: "wait", item };
    drawStatus();
    if (here.dataset.hidden) leaving = item; // it stays until the label is with the server, and then shows its votes
    else goOn();
  }
  function skip() {
    const here = form();
    if (!here) return;
    if (!annotator()) return askName(skip);
    const item = itemNow();
    if (leaving === item) return;
    done.push(item);
    mark(item, "…");
    if (!here.dataset.taken) put("skip", { query: location.search, item, note: note(), flags: flags() }, here.dataset.external);
    goOn();
  }
  let undoing = false;
  async function undo() {
    if (undoing || !root()) return;
    if (!annotator()) return askName(undo);
    undoing = true;
    try {
      const stuck = outbox.findLast((entry) => entry.tries);
      if (stuck) { drop(stuck); leaving = 0; mark(stuck.body.item, ""); return await open(stuck.body.item); }
      await flush();
      const reply = await ask("undo", { query: location.search });
      for (let place = done.indexOf(reply.item); place >= 0; place = done.indexOf(reply.item)) done.splice(place, 1);
      mark(reply.item, "");
      apply(reply.pulse);
      if (given === reply.item) given = 0;
      if (reply.item === itemNow()) await redrawItem(reply.item);
      else await open(reply.item);
      say(reply.told);
    } catch (error) { say(error.message, "bad"); } finally { undoing = false; }
  }
  function move(direction) {
    const entries = $$("[data-entry]");
    const place = entries.findIndex((entry) => entry.dataset.entry === String(itemNow()));
    const next = entries[place < 0 ? 0 : place + direction];
    if (next) return open(Number(next.dataset.entry));
    $(`.rv-queue a[rel=${direction > 0 ? "next" : "prev"}]`)?.click();
  }
  function toggleNote() {
    const box = $(".rv-notebox");
    if (!box) return;
    box.hidden = false;
    $("[data-act=note]").setAttribute("aria-expanded", "true");
    $("[data-note]").focus();
  }
  function toggleBlind() {
    const blind = cookie("pingpan_blind") !== "1";
    setCookie("pingpan_blind", blind ? "1" : "");
    forget();
    pingpan.go();
    say(said(blind ? "blindOn" : "blindOff"));
  }
  function toggle(element) { element.setAttribute("aria-pressed", String(element.getAttribute("aria-pressed") !== "true")); element.dataset.touched = "1"; }
  const acts = {
    save, skip, undo, note: toggleNote, blind: toggleBlind, help: () => dialog("[data-keys]"), again: () => pingpan.go(),
    queue: () => $("[data-act=queue]").setAttribute("aria-expanded", String(root().classList.toggle("queue-open"))),
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-who]")) return askName();
    if (!root()) return;
    settle();
    const level = event.target.closest?.("[data-level]"), flag = event.target.closest?.("[data-flag]");
    const act = event.target.closest?.("[data-act]"), link = event.target.closest?.("a[data-item]");
    if (level) return pick(Number(level.dataset.level));
    if (flag) return toggle(flag);
    if (act) return acts[act.dataset.act]?.();
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    open(Number(new URL(link.href).searchParams.get("item")));
  });

  // -- dialogs live outside of what the server draws
  let shown = null;
  function dialog(template) {
    if (shown?.open || !$(template)) return null; // a closed one is told of its closing later: the next key need not wait for it
    const box = Object.assign(document.createElement("dialog"), { className: "rv-dialog" });
    box.append($(template).content.cloneNode(true));
    const close = button("×", () => box.close());
    close.className = "rv-close";
    close.setAttribute("aria-label", $("header.top").dataset.close || "×");
    box.append(close);
    box.addEventListener("close", () => box.remove());
    box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
    document.body.append(box);
    box.showModal();
    return (shown = box);
  }
  function askName(then = null) {
    if (cookie("pingpan_login")) return location.assign(`/login?language=${language()}&next=${encodeURIComponent(location.pathname + location.search)}`);
    const box = dialog("[data-who-dialog]");
    if (!box) return;
    const field = $("input", box);
    field.value = annotator();
    field.select();
    $("form", box).addEventListener("submit", async (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (!name) return field.focus();
      const changed = name !== annotator();
      if (changed && annotator()) {
        forget();
        if (root() && itemNow()) await ask("release", { query: location.search, items: [itemNow()] }).catch(() => {});
      }
      setCookie("pingpan_annotator", name);
      box.close();
      nameHeader();
      if (typeof then === "function") then();
      else if (changed && root()) pingpan.go();
    });
  }
  pingpan.askName = askName;
  function nameHeader() {
    const known = annotator();
    $$("[data-who]").forEach((place) => { const text = known || place.dataset.nobody; if (place.textContent !== text) place.textContent = text; });
  }

  // -- keys
  let digits = "", digitsAt = 0;
  function number(key) {
    const levels = $$("[data-level]").map((one) => one.dataset.level);
    digits = (performance.now() - digitsAt < 700 ? digits : "") + key;
    digitsAt = performance.now();
    const level = [digits, key].find((text) => levels.includes(text));
    if (level !== undefined) pick(Number(level));
    return level !== undefined;
  }
  const keys = {
    Enter: save, s: skip, u: undo, n: toggleNote, b: toggleBlind, j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
    "?": acts.help, "？": acts.help, Escape: () => { if (root().classList.contains("queue-open")) acts.queue(); else pick(null); },
  };
  document.addEventListener("keydown", (event) => {
    // An input method that is composing sends the keys of its own choices (keyCode 229): they are not meant for the page.
    if (!root() || shown?.open || event.isComposing || event.keyCode === 229 || event.key === "Process" || event.defaultPrevented) return;
    settle(); // what was drawn a moment ago is taken in before the key acts on it
    const field = event.target.closest?.("input, textarea, select, [contenteditable=true], [role=listbox]");
    if (field) {
      if (event.key === "Escape") field.blur();
      if (field.matches("[data-note]") && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); field.blur(); save(); }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const control = event.target.closest?.("a, button, summary");
    if (control && (event.key === " " || (event.key === "Enter" && !control.matches("[data-level], [data-flag]")))) return;
    if (event.key.startsWith("Arrow") && event.target.closest?.(".text, .prompt p")) return;
    const digit = event.key.normalize("NFKC");
    if (/^[0-9]$/.test(digit)) { if (number(digit)) event.preventDefault(); return; }
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    if (event.repeat && !/^(Arrow|[jkJK]$)/.test(event.key)) return; // a key held down labels one row, not ten
    act();
  });

  // -- after the server drew the page
  let drawnAt = "", asked = false;
  function settle() {
    nameHeader();
    const page = root();
    if (!page) return;
    drawStatus();
    if (page.dataset.at === drawnAt) return;
    if (page.dataset.query !== location.search) return; // an answer to an older URL: the page asks anew by itself
    drawnAt = page.dataset.at;
    if (page.dataset.search && page.dataset.search !== location.search) {
      history.replaceState(null, "", location.pathname + page.dataset.search);
      page.dataset.query = location.search;
    }
    if (ahead && ahead.key !== aheadKey()) forget();
    restore();
    if (!annotator() && !asked) { asked = true; askName(); }
    arrived();
  }
  let settling = 0;
  new MutationObserver(() => { cancelAnimationFrame(settling); settling = requestAnimationFrame(settle); })
    .observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-at", "data-query"] });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && root()) fetchAhead(); });
  adopt();
})();
