// What the tests ask a page in the browser. Each is a function; the file is one object of them.
({
  // Texts with less contrast than `limit` against what is really behind them.
  faint(limit) {
    const parts = (text) => {
      const found = /rgba?\(([^)]+)\)/.exec(text);
      const [, srgb] = found ? [] : /color\(srgb ([^)]+)\)/.exec(text);
      const n = (found ? found[1] : srgb).split(/[ ,/]+/).map(Number);
      return (found ? n.slice(0, 3) : n.slice(0, 3).map((c) => c * 255)).concat(n[3] ?? 1);
    };
    const over = (top, below) =>
      [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
    const behind = (element) => {
      if (!element) {
        return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
      }
      return over(parts(getComputedStyle(element).backgroundColor), behind(element.parentElement));
    };
    const light = (colour) => {
      const [r, g, b] = colour.map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = [];
    let seen = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      const text = walker.currentNode.data.trim();
      if (!text || !element.checkVisibility()) continue;
      seen += 1;
      const below = behind(element);
      const pair = [over(parts(getComputedStyle(element).color), below), below].map(light);
      const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
      if (contrast < limit) faint.push(`${contrast.toFixed(2)} ${element.tagName} ${text}`);
    }
    return { seen, faint };
  },

  // How wide the document is, and what reaches beyond the window; with everything unfolded.
  wide() {
    for (const each of document.querySelectorAll("details")) each.open = true;
    const beyond = [...document.querySelectorAll("body *")].filter((e) =>
      e.checkVisibility() && !e.closest(".hidden, .skip, thead")
      && e.getBoundingClientRect().right > innerWidth + 0.5);
    return [document.documentElement.scrollWidth, beyond.map((e) => e.outerHTML.slice(0, 90))];
  },

  // How many shapes, colour left out, the elements have.
  shapes(selector) {
    const shapes = [...document.querySelectorAll(selector)].map((e) => {
      const own = getComputedStyle(e.querySelector("span") || e);
      return [
        own.backgroundColor === "rgba(0, 0, 0, 0)" ? "hollow" : "filled",
        own.backgroundImage.slice(0, 9), own.borderTopWidth, own.borderTopLeftRadius,
        getComputedStyle(e, "::after").content,
      ].join();
    });
    return new Set(shapes).size;
  },

  // What has the focus, and whether that can be seen; null when nothing has.
  focus() {
    const e = document.activeElement;
    if (e === document.body) return null;
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    const marked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const inside = box.width > 0 && box.left >= 0 && box.top >= 0
      && box.bottom <= innerHeight && box.right <= innerWidth;
    return [this.called(e), marked && inside];
  },

  // What can be reached, in the order in which it stands; of a row of bars only the last, or all.
  reachable(lastBarOnly) {
    const all = [...document.querySelectorAll("a, button:not([hidden]), summary")];
    const earlier = (e) => e.closest("[data-roving]") && e.closest("li").nextElementSibling;
    return all.filter((e) => !(lastBarOnly && earlier(e))).map((e) => this.called(e));
  },

  called: (e) => e.id || e.getAttribute("href") || e.parentElement.id || e.tagName,

  moving: () => [...document.querySelectorAll("*")]
    .filter((e) => getComputedStyle(e).animationName !== "none").length,

  headings: () => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
    .map((e) => Number(e.tagName[1])),

  doubledIds: () => [...document.querySelectorAll("[id]")].map((e) => e.id)
    .filter((id, at, all) => all.indexOf(id) !== at),

  // Try what the policy forbids.
  intrude() {
    const script = document.createElement("script");
    script.text = "window.ran = 1";
    document.body.append(script);
    document.body.setAttribute("style", "color: red");
    return [window.ran ?? null, getComputedStyle(document.body).color === "rgb(255, 0, 0)"];
  },
})
