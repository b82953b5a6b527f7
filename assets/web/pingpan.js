// The pages' manners: links and choices change the URL's query and ask the server for the page anew (no reload),
// files are uploaded with a progress bar, and the keyboard walks through rows. No state lives here.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // The header sets `go` when it is mounted; that, and the other scripts, may come before this one.
  const pingpan = (window.pingpan ||= {});
  pingpan.go ||= () => location.reload();

  function visit(href, replace = false) {
    const url = new URL(href, location.href);
    if (url.pathname.replace(/\/$/, "") !== location.pathname.replace(/\/$/, "")) return location.assign(url);
    if (url.search === location.search) return;
    history[replace ? "replaceState" : "pushState"](null, "", url.pathname + url.search);
    markSwitch();
    pingpan.go();
  }

  function withParameter(name, value, { reset = "", keepPage = false } = {}) {
    const url = new URL(location.href);
    if (value === "" && !name.startsWith("map.")) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
    // A mapping is one choice of many parts: the URL holds all of them, as they stand on the page.
    if (name.startsWith("map.")) $$("select[data-param^='map.']").forEach((field) => url.searchParams.set(field.dataset.param, field.value));
    if (reset) [...url.searchParams.keys()].filter((key) => key.startsWith(reset)).forEach((key) => url.searchParams.delete(key));
    if (!keepPage) ["page", "item"].forEach((key) => url.searchParams.delete(key));
    return url.pathname + url.search;
  }
  pingpan.remember = (name, value) => {
    history.replaceState(null, "", withParameter(name, String(value ?? ""), { keepPage: true }));
    markSwitch();
  };
  pingpan.set = (name, value) => visit(withParameter(name, String(value ?? ""), { keepPage: true }));

  pingpan.visit = visit;
  pingpan.busy = (busy) => $("#judge-start")?.classList.toggle("busy", busy);

  // Make `place` hold `markup` by changing only what differs: focus, scroll and what is being typed stay, but never in an
  // element that is about something else by now (data-same).
  pingpan.patch = (place, markup) => {
    const fresh = document.createElement("template");
    fresh.innerHTML = markup;
    children(place, fresh.content);
  };
  const identity = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.tagName + (node.dataset.same || node.id || "") : node.nodeType);
  function children(old, fresh) {
    const nodes = [...fresh.childNodes];
    nodes.forEach((node, place) => {
      const there = old.childNodes[place];
      if (!there) old.append(node);
      else if (identity(there) !== identity(node)) old.replaceChild(node, there);
      else if (node.nodeType === Node.ELEMENT_NODE) element(there, node);
      else if (there.data !== node.data) there.data = node.data;
    });
    while (old.childNodes.length > nodes.length) old.lastChild.remove();
  }
  function element(old, fresh) {
    for (const name of old.getAttributeNames()) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.tagName === "TEMPLATE") old.innerHTML = fresh.innerHTML;
    else if (old.tagName === "TEXTAREA") { const typed = old.value !== old.defaultValue && old.value; old.defaultValue = fresh.defaultValue; if (typed) old.value = typed; }
    else children(old, fresh);
    if (old.tagName === "SELECT" || (old.tagName === "INPUT" && old !== document.activeElement)) old.value = fresh.value;
  }

  function markSwitch() {
    const link = $("a[data-switch]");
    if (link) link.href = `/${link.dataset.switch}/` + location.pathname.split("/").slice(2).join("/") + location.search;
  }

  // On a phone the navigation is wider than the screen: the page that is open comes into sight when the header is there.
  const header = new MutationObserver(() => {
    const open = $("header.top nav a.on");
    if (!open) return;
    header.disconnect();
    open.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  header.observe(document.documentElement, { childList: true, subtree: true });

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-nav], a[data-switch]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (link.dataset.switch) {
      document.cookie = `pingpan_language=${link.dataset.switch}; path=/; max-age=31536000; samesite=lax`;
      markSwitch();
      return location.assign(link.href);
    }
    if (link.matches("[data-row]")) {
      $$("tr.on").forEach((row) => row.classList.remove("on"));
      link.closest("tr").classList.add("on");
    }
    visit(link.href.baseVal ?? link.href); // a link of a figure (SVG) has its address within
  });
  document.addEventListener("change", (event) => {
    const field = event.target;
    if (field.matches?.("select[data-param]")) {
      const value = field.value === field.dataset.default ? "" : field.value;
      visit(withParameter(field.dataset.param, value, { reset: field.dataset.reset }));
    }
    if (field.matches?.("[data-upload] input[type=file]") && field.files.length) upload(field.closest("[data-upload]"), field.files[0]);
  });

  let typing = 0;
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!field.matches?.("input[data-param]") || event.isComposing) return;
    clearTimeout(typing);
    typing = setTimeout(() => visit(withParameter(field.dataset.param, field.value.trim()), true), 350);
  });
  document.addEventListener("compositionend", (event) => event.target.dispatchEvent(new InputEvent("input", { bubbles: true })));
  addEventListener("pageshow", () => pingpan.busy(false)); // the browser may keep the page as it was left
  addEventListener("popstate", () => { markSwitch(); pingpan.go(); });

  // -- files
  let sending = 0;
  // A press of Start waits for what is on its way: the file being sent, then the page that shows it. A page that never comes is not waited for.
  pingpan.settled = async () => {
    const drawn = () => $("[data-query]")?.dataset.query === location.search;
    for (let waited = 0; sending || (!drawn() && waited < 20000); waited += 50) await new Promise((go) => setTimeout(go, 50));
  };
  function upload(zone, file) {
    const bar = $(".uploading", zone), problem = $("[data-upload-error]", zone);
    const request = new XMLHttpRequest();
    const fail = (text) => {
      bar.hidden = true;
      problem.hidden = false;
      $("p", problem).textContent = text;
      $("input[type=file]", zone).value = "";
    };
    problem.hidden = true;
    bar.hidden = false;
    $("[data-upload-name]", bar).textContent = file.name;
    request.upload.onprogress = (step) => { $(".bar i", bar).style.width = `${(100 * step.loaded) / Math.max(step.total, 1)}%`; };
    request.onerror = () => fail($("header.top").dataset.broken);
    request.onloadend = () => { sending -= 1; };
    request.onload = () => {
      let reply = {};
      try { reply = JSON.parse(request.responseText); } catch { /* the message below is shown */ }
      if (request.status !== 200) return fail(reply.message || $("header.top").dataset.broken);
      bar.hidden = true;
      $("input[type=file]", zone).value = "";
      visit(withParameter(zone.dataset.param, reply.value, { keepPage: true }));
    };
    const language = $("header.top").dataset.language;
    request.open("POST", `${zone.dataset.upload}?language=${language}&name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    sending += 1;
    request.send(file);
  }
  const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    $$(".drop").forEach((zone) => zone.classList.add("over"));
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $$(".drop").forEach((zone) => zone.classList.remove("over")); });
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    $$(".drop").forEach((zone) => zone.classList.remove("over"));
    const zone = event.target.closest?.("[data-upload]") || $(".drop[data-upload]");
    if (zone && event.dataTransfer.files.length) upload(zone, event.dataTransfer.files[0]);
  });

  // -- keyboard
  function step(direction) {
    const open = $(`.detail [data-key=${direction > 0 ? "next" : "previous"}]`);
    if ($(".detail")) return open ? (open.click(), true) : false;
    const links = $$("a[data-row]");
    if (!links.length) return false;
    const place = links.indexOf(document.activeElement);
    links[place < 0 ? 0 : Math.min(links.length - 1, Math.max(0, place + direction))].focus();
    return true;
  }
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable=true], [role=listbox], .text, .scroll[tabindex]")) return;
    const handled =
      event.key === "ArrowDown" || event.key === "j" ? step(1)
      : event.key === "ArrowUp" || event.key === "k" ? step(-1)
      : event.key === "Escape" && $(".detail [data-key=close]") ? ($(".detail [data-key=close]").click(), true)
      : false;
    if (handled) event.preventDefault();
  });

  // -- after the server drew something anew
  let shownItem = "", drawnQuery = "", toldAt = "";
  function settle() {
    const header = $("header.top");
    if (header) {
      document.documentElement.lang = header.dataset.tag;
      const name = $(".sub h1, [data-name]")?.textContent;
      const title = (name ? `${name} · ` : "") + header.dataset.title;
      if (document.title !== title) document.title = title;
    }
    // An answer to an older URL may overtake the newest one: what is drawn says which URL it is for.
    const drawn = $("[data-query]")?.dataset.query;
    if (drawn !== undefined && drawn !== drawnQuery) {
      drawnQuery = drawn;
      if (drawn !== location.search) pingpan.go();
    }
    const told = $("#run-notice .notice.info");
    if (told && told.dataset.at !== toldAt) {
      toldAt = told.dataset.at;
      setTimeout(() => { const now = $("#run-notice .notice.info"); if (now?.dataset.at === toldAt) now.hidden = true; }, 8000);
    }
    const detail = $(".detail");
    const item = detail?.dataset.item || "";
    document.body.classList.toggle("row-open", Boolean(detail));
    const walker = document.activeElement;
    if (walker?.matches("a[data-row]") && item) $("tr.on a[data-row]")?.focus({ preventScroll: true });
    if (item === shownItem) return;
    shownItem = item;
    if (!detail) return;
    detail.scrollTop = 0;
    $$(".text", detail).forEach((text) => { text.scrollTop = 0; });
    if (matchMedia("(max-width: 899px)").matches) detail.scrollIntoView({ block: "start" });
    else $("tr.on")?.scrollIntoView({ block: "nearest" });
  }
  let settling = 0;
  new MutationObserver(() => { cancelAnimationFrame(settling); settling = requestAnimationFrame(settle); })
    .observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-item", "data-query", "data-at", "data-title", "title"] });
})();
