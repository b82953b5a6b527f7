// The desk pages: buttons and forms that act through the API, what they say (with a way back), and forms that only change
// the URL. The page is drawn anew after each act; nothing is kept here.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const pingpan = (window.pingpan ||= {});
  const KEPT = "pingpan_told";

  // -- what an act says
  let fading = 0;
  function toast({ notice, undo = null, error = false }) {
    if (!notice) return;
    const stack = $("#toasts") || document.body.appendChild(Object.assign(document.createElement("div"), { id: "toasts" }));
    const box = document.createElement("div");
    box.className = `toast${error ? " error" : ""}`;
    box.setAttribute("role", error ? "alert" : "status");
    const words = document.createElement("p");
    words.textContent = notice;
    box.append(words);
    if (undo) {
      const back = Object.assign(document.createElement("button"), { type: "button", className: "btn", textContent: undo.label });
      back.addEventListener("click", () => act(back, undo.url, undo.body));
      box.append(back);
    }
    const close = Object.assign(document.createElement("button"), { type: "button", className: "toast-close", textContent: "×" });
    close.setAttribute("aria-label", $("header.top")?.dataset.close || "×");
    close.addEventListener("click", () => box.remove());
    box.append(close);
    stack.replaceChildren(box);
    clearTimeout(fading);
    // What went wrong stays until it is read; what can be undone stays longer than what is only told.
    if (!error) fading = setTimeout(() => box.remove(), undo ? 20_000 : 8_000);
  }
  pingpan.toast = toast;

  function told() {
    const kept = sessionStorage.getItem(KEPT);
    sessionStorage.removeItem(KEPT);
    if (kept) toast(JSON.parse(kept));
  }
  if (document.body) told();
  else addEventListener("DOMContentLoaded", told);

  // -- acts
  async function act(source, url, body) {
    if (source.dataset.busy) return;
    source.dataset.busy = "1";
    source.classList.add("busy");
    const header = $("header.top");
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Accept-Language": header.dataset.language },
        body: JSON.stringify(body || {}),
      });
      const reply = await answer.json().catch(() => ({}));
      if (!answer.ok) return toast({ notice: reply.message || header.dataset.broken, error: true });
      const output = source.dataset.output && $(source.dataset.output);
      if (output) output.textContent = reply.notice || "";
      if (output) output.className = `verdict-line ${reply.ok === false ? "bad" : "good"}`;
      if (reply.url) {
        const here = new URL(reply.url, location.href).pathname === location.pathname;
        if (here) toast(reply);
        else sessionStorage.setItem(KEPT, JSON.stringify(reply));
        return pingpan.visit(reply.url);
      }
      if (!output) toast(reply);
      if (reply.ok !== false && !source.dataset.still) pingpan.go();
    } catch {
      toast({ notice: header.dataset.broken, error: true });
    } finally {
      delete source.dataset.busy;
      source.classList.remove("busy");
    }
  }

  function fieldsOf(form) {
    const body = {};
    for (const field of form.querySelectorAll("[name]")) {
      if ((field.type === "radio" || field.type === "checkbox") && !field.checked) continue;
      if (field.dataset.many !== undefined) (body[field.name] ||= []).push(field.value);
      else body[field.name] = field.value;
      if (field.dataset.who !== undefined && field.value.trim()) {
        document.cookie = `pingpan_annotator=${encodeURIComponent(field.value.trim())}; path=/; max-age=31536000; samesite=lax`;
      }
    }
    return body;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-post]");
    if (!button || event.defaultPrevented) return;
    event.preventDefault();
    const form = button.closest("form");
    const body = { ...(form ? fieldsOf(form) : {}), ...JSON.parse(button.dataset.body || "{}") };
    (button.dataset.omit || "").split(" ").forEach((name) => delete body[name]);
    if (form && !form.reportValidity()) return;
    act(button, button.dataset.post, body);
  });

  // -- forms that only change the URL
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches?.("form[data-desk]")) return;
    event.preventDefault();
    if (form.dataset.desk !== "url") return form.querySelector("button[data-post]")?.click();
    const url = new URL(location.href);
    for (const field of form.querySelectorAll("[name]")) {
      const value = field.value.trim().slice(0, field.maxLength > 0 ? field.maxLength : undefined);
      if (value) url.searchParams.set(field.name, value);
      else url.searchParams.delete(field.name);
    }
    ["page", "item"].forEach((key) => url.searchParams.delete(key));
    pingpan.visit(url.pathname + url.search);
  });

  // Fields that hold the reader's name are filled in where it is known.
  const known = () => decodeURIComponent((document.cookie.match(/(?:^|; )pingpan_login=([^;]*)/) || document.cookie.match(/(?:^|; )pingpan_annotator=([^;]*)/) || [])[1] || "");
  function remember() {
    for (const field of document.querySelectorAll("[data-who]")) if (!field.value && field !== document.activeElement) field.value = known();
  }
  new MutationObserver(remember).observe(document.documentElement, { childList: true, subtree: true });
})();
