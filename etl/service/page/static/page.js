// Keeps the page current: fetches the same content again and changes what has changed.
// Without it the page is complete, as of when it was loaded.
"use strict";
(() => {
  const main = document.getElementById("main");
  const asof = document.querySelector("#asof time");
  const lost = document.getElementById("lost");
  const pause = document.getElementById("pause");
  const source = document.body.dataset.live;
  const LONGEST_WAIT_MS = 60_000;
  const PATIENCE_MS = 20_000;
  let tag = "", timer = 0, failures = 0, paused = false, busy = false;

  // Tab stops at the newest bar of a list; the arrow keys reach the others.
  const rove = () => {
    for (const list of document.querySelectorAll("[data-roving]")) {
      const links = [...list.querySelectorAll("a")];
      const current = links.find((link) => link === document.activeElement)
        || links.find((link) => link.getAttribute("tabindex") === "0") || links.at(-1);
      for (const link of links) link.setAttribute("tabindex", link === current ? "0" : "-1");
    }
    for (const hint of document.querySelectorAll(".with-script")) hint.hidden = false;
  };
  document.addEventListener("keydown", (event) => {
    const list = event.target.closest?.("[data-roving]");
    if (!list || event.altKey || event.ctrlKey || event.metaKey) return;
    const links = [...list.querySelectorAll("a")];
    const here = links.indexOf(event.target.closest("a"));
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined || !links[to]) return;
    event.preventDefault();
    links[here].setAttribute("tabindex", "-1");
    links[to].setAttribute("tabindex", "0");
    links[to].focus();
  });

  // What the reader has changed stays: the focus, what is unfolded, where Tab stops.
  const KEPT = new Set(["tabindex", "open"]);
  const morph = (now, next) => {
    if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName || (now.id || "") !== (next.id || "")) {
      now.replaceWith(next.cloneNode(true));
      return;
    }
    if (now.nodeType !== Node.ELEMENT_NODE) {
      if (now.data !== next.data) now.data = next.data;
      return;
    }
    for (const { name, value } of next.attributes) {
      if (!KEPT.has(name) && now.getAttribute(name) !== value) now.setAttribute(name, value);
    }
    for (const { name } of [...now.attributes]) {
      if (!KEPT.has(name) && !next.hasAttribute(name)) now.removeAttribute(name);
    }
    morphChildren(now, next);
  };
  const morphChildren = (now, next) => {
    const wanted = new Set([...next.children].map((child) => child.id).filter(Boolean));
    for (const child of [...now.children]) {
      if (child.id && !wanted.has(child.id)) child.remove();
    }
    const known = new Map([...now.children].filter((c) => c.id).map((c) => [c.id, c]));
    [...next.childNodes].forEach((child, at) => {
      const same = known.get(child.id);
      // Whoever is moved loses the focus, so what stands in the way is removed instead.
      while (same && now.childNodes[at] !== same && !wanted.has(now.childNodes[at].id)) {
        now.childNodes[at].remove();
      }
      if (same && now.childNodes[at] !== same) now.insertBefore(same, now.childNodes[at]);
      const there = now.childNodes[at];
      if (same) morph(same, child);
      else if (!there || child.id || wanted.has(there.id)) now.insertBefore(child.cloneNode(true), there || null);
      else morph(there, child);
    });
    while (now.childNodes.length > next.childNodes.length) now.lastChild.remove();
  };

  const show = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html").body;
    next.normalize();
    main.normalize();
    morphChildren(main, next);
    rove();
  };
  const say = (text) => { if (lost.textContent !== text) lost.textContent = text; };

  const look = async () => {
    clearTimeout(timer);
    if (busy || paused || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(source, {
        headers: tag ? { "If-None-Match": tag } : {},
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      if (answer.status === 401 || answer.status === 403) {
        say("You are no longer let in. Load the page again with its token.");
        return;
      }
      if (answer.status === 404) {
        say("This page is no longer there.");
        return;
      }
      if (answer.status !== 304) {
        const text = await answer.text();
        if (answer.status === 503) throw new Error("The database cannot be read.");
        if (!answer.ok) throw new Error(`The service answers with ${answer.status}.`);
        show(text);
        tag = answer.headers.get("ETag") || "";
      }
      failures = 0;
      say("");
      const at = answer.headers.get("X-As-Of");
      if (asof && at && !paused) {
        asof.dateTime = at;
        asof.textContent = at.replace("T", " ").replace("Z", " UTC");
      }
      main.dataset.looked = String(Number(main.dataset.looked || 0) + 1);
    } catch (error) {
      failures += 1;
      const why = error instanceof TypeError || error.name === "TimeoutError"
        ? "The service does not answer." : error.message;
      say(`${why} What is below is as it was; trying again.`);
    } finally {
      busy = false;
    }
    const every = Number(document.getElementById("verdict")?.dataset.everyMs || 5000);
    timer = setTimeout(look, Math.min(every * 2 ** failures, LONGEST_WAIT_MS));
  };

  rove();
  if (!source) return;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on updating" : "Pause updates";
    if (!paused) look();
  });
  document.addEventListener("visibilitychange", look);
  timer = setTimeout(look, 1000);
})();
