"use strict";
(() => {
  const HOLD = 2; // ticks that playing rests at an end
  const TICK = 450; // milliseconds from step to step
  const MOST_THUMBNAILS = 60; // in the strip of a large view
  const EVERY = "place in the series";

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function fill(select, values) {
    select.replaceChildren(...values.map(([value, text]) => {
      const option = make("option", {value});
      option.textContent = text;
      return option;
    }));
  }

  // One translation: what picture, label and place stand at source image i and step m; m = 0 is the source image itself.
  class Translation {
    constructor(view) {
      const {before, after, rest} = view.names;
      this.view = view;
      this.names = rest.map((name) => before + name + after);
      this.missing = new Set(view.sources);
      this.first = view.sources.length === rest.length ? 1 : 0; // step, where no source image can be shown
    }

    stem(i) {
      return this.view.stems[i] ?? this.names[i].replaceAll("/", "_").replace(/\.[^.]*$/, "");
    }

    picture(i, m) {
      const name = encodeURIComponent(this.stem(i));
      if (m === 0) return this.missing.has(i) ? "" : `${this.view.url}/sources/${name}.png`;
      return `${this.view.url}/images/${name}_m${String(m).padStart(this.view.digits, "0")}.png`;
    }

    at(table, i, m) {
      if (table.same) return table.same[m - 1];
      const start = (i * this.view.amount + m - 1) * table.width;
      return parseInt(table.rows.slice(start, start + table.width), 36);
    }

    // The share of the target, from 0 to 1: by a rule, or by the place in the series.
    share(i, m, rule) {
      if (rule && m > 0) return this.at(this.view.rules[rule], i, m) / 1000;
      return this.view.steps[m].shares.at(-1) / 1000;
    }

    label(i, m, rule) {
      if (!rule || m === 0) return this.view.steps[m].text;
      return `${Math.round(100 * this.share(i, m, rule))} % ${this.view.way.at(-1)}`;
    }

    get placesVary() {
      return this.view.places.tables.some((table) => !table.same);
    }

    place(i, m) {
      if (m === 0) return "source image";
      const {kind, tables} = this.view.places;
      const numbers = tables.map((table) => this.at(table, i, m));
      if (kind === "depth") return `depth ${numbers[0]}`;
      return `weight${numbers.length > 1 ? "s" : ""} ${numbers.map((number) => (number / 1000).toFixed(2)).join(" / ")}`;
    }
  }

  class Viewer {
    constructor(root) {
      this.root = root;
      this.get = (selector) => root.querySelector(selector);
      this.translations = JSON.parse(this.get(".data").textContent).map((view) => new Translation(view));
      this.state = {step: 0, page: 0, rule: "", open: null, against: 0};
      this.kept = new Map(); // pictures that were asked for, so that steps come at once
      this.timer = null;
      this.connect();
      this.choose(0);
    }

    connect() {
      const on = (selector, event, act) => this.get(selector).addEventListener(event, act);
      this.root.querySelectorAll(".directions input").forEach((input) =>
        input.addEventListener("change", () => this.choose(Number(input.value))));
      on(".step", "input", (event) => { this.stop(); this.goTo(Number(event.target.value)); });
      on(".play", "click", () => (this.timer ? this.stop() : this.play()));
      for (const selector of [".find", ".least", ".most"]) on(selector, "input", () => this.list());
      for (const selector of [".descending", ".per-page"]) on(selector, "change", () => this.list());
      on(".sort", "change", () => { this.get(".least").value = this.get(".most").value = ""; this.list(); });
      on(".rules", "change", (event) => { this.state.rule = event.target.value; this.show(); });
      on(".previous", "click", () => this.turn(-1));
      on(".next", "click", () => this.turn(1));
      this.connectLarge(on);
    }

    connectLarge(on) {
      this.dialog = this.get("dialog");
      on(".close", "click", () => this.dialog.close());
      on("dialog", "close", () => { this.state.open = null; this.opener?.focus(); });
      on("dialog", "click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
      on(".image-before", "click", () => this.openBy(-1));
      on(".image-after", "click", () => this.openBy(1));
      on(".large-step", "input", (event) => { this.stop(); this.goTo(Number(event.target.value)); });
      on(".against", "input", (event) => { this.state.against = Number(event.target.value); this.showLarge(); });
      on(".gain-by", "input", (event) => this.get(".stage").style.setProperty("--gain", event.target.value));
      on(".divider", "input", (event) => this.divide(Number(event.target.value)));
      on(".pixels", "change", (event) => this.dialog.classList.toggle("crisp", event.target.checked));
      this.root.querySelectorAll(".modes input").forEach((input) =>
        input.addEventListener("change", () => this.showLarge()));
      const drag = (event) => {
        if (this.mode !== "swipe" || (event.type === "pointermove" && !event.buttons)) return;
        const box = this.get(".frames").getBoundingClientRect();
        this.divide(Math.max(0, Math.min(100, 100 * (event.clientX - box.left) / box.width)));
      };
      on(".frames", "pointerdown", (event) => { event.currentTarget.setPointerCapture(event.pointerId); drag(event); });
      on(".frames", "pointermove", drag);
      on("dialog", "keydown", (event) => {
        if (event.target.matches("input") || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
        this.stop();
        this.goTo(this.state.step + (event.key === "ArrowRight" ? 1 : -1));
      });
    }

    // Directions

    choose(number) {
      this.stop();
      this.shown = this.translations[number];
      const {view, first} = this.shown;
      this.state.rule = "";
      this.state.against = first;
      for (const selector of [".step", ".large-step", ".against"]) {
        Object.assign(this.get(selector), {min: first, max: view.amount});
      }
      const measures = Object.keys(view.measures);
      fill(this.get(".sort"), [["", "order of the files"], ["name", "name"], ...measures.map((name) => [name, name])]);
      const rules = Object.keys(view.rules);
      fill(this.get(".rules"), [["", EVERY], ...rules.map((rule) => [rule, `rule ${rule}`])]);
      this.get(".rule").hidden = !rules.length;
      this.get(".least").value = this.get(".most").value = "";
      this.state.step = Math.max(first, Math.min(this.state.step, view.amount));
      this.list();
    }

    // Which source images, in which order

    list() {
      const {view} = this.shown, key = this.get(".sort").value;
      const values = view.measures[key]?.values;
      const text = this.get(".find").value.trim().toLocaleLowerCase();
      const bound = (selector, other) => (this.get(selector).value === "" ? other : Number(this.get(selector).value));
      const least = bound(".least", -Infinity), most = bound(".most", Infinity);
      this.order = this.shown.names.map((_, i) => i).filter((i) => this.shown.names[i].toLocaleLowerCase().includes(text));
      if (values && (least > -Infinity || most < Infinity)) {
        this.order = this.order.filter((i) => values[i] !== null && values[i] >= least && values[i] <= most);
      }
      const sign = this.get(".descending").checked ? -1 : 1;
      if (key === "name") {
        this.order.sort((a, b) => sign * this.shown.names[a].localeCompare(this.shown.names[b], undefined, {numeric: true}));
      } else if (values) { // those without a value come last, either way
        this.order.sort((a, b) => (values[a] === null) - (values[b] === null) || sign * (values[a] - values[b]));
      } else if (sign < 0) {
        this.order.reverse();
      }
      this.get(".range").hidden = !values;
      this.get(".measure-reads").hidden = !values;
      this.get(".measure-reads").textContent = values ? `${key}: ${view.measures[key].reads}.` : "";
      this.state.page = 0;
      this.lay();
    }

    get pageSize() { return Number(this.get(".per-page").value); }

    get pages() { return Math.max(1, Math.ceil(this.order.length / this.pageSize)); }

    turn(by) {
      this.state.page = Math.max(0, Math.min(this.pages - 1, this.state.page + by));
      this.lay();
      this.get(".deck").scrollIntoView({block: "start"});
    }

    // The cards of one page

    lay() {
      const {view} = this.shown, first = this.state.page * this.pageSize;
      const indices = this.order.slice(first, first + this.pageSize);
      this.kept.clear();
      this.watcher?.disconnect();
      this.watcher = new IntersectionObserver((entries) => {
        for (const entry of entries) if (entry.isIntersecting) this.fetchSteps(Number(entry.target.dataset.index));
      }, {rootMargin: "200px"});
      this.cards = indices.map((i) => {
        const image = make("img", {loading: "lazy", decoding: "sync", draggable: "false"});
        image.addEventListener("load", () => this.takeShape(image), {once: true});
        const button = make("button", {type: "button"}, image);
        button.addEventListener("click", () => { this.opener = button; this.open(i); });
        const fillBar = make("i"), name = make("div", {class: "name", title: this.shown.names[i]}), more = make("div", {class: "more"});
        name.textContent = this.shown.names[i];
        const item = make("li", {class: "card", "data-index": i}, button,
          make("div", {class: "bar", "aria-hidden": "true"}, fillBar), name, more);
        this.watcher.observe(item);
        return {i, image, button, fillBar, more, item};
      });
      const none = make("li", {class: "none"});
      none.textContent = "No source image fits. Clear the search or the bounds.";
      this.get(".cards").replaceChildren(...(this.cards.length ? this.cards.map((card) => card.item) : [none]));
      this.get(".count").textContent = this.order.length ? `${first + 1} to ${first + indices.length} of ${this.order.length} source images, page ${this.state.page + 1} of ${this.pages}` : "0 source images";
      this.get(".previous").disabled = this.state.page === 0;
      this.get(".next").disabled = this.state.page >= this.pages - 1;
      this.show();
    }

    takeShape(image) {
      this.root.style.setProperty("--shape", image.naturalWidth / image.naturalHeight);
    }

    fetchSteps(i) {
      for (let m = this.shown.first; m <= this.shown.view.amount && m <= MOST_THUMBNAILS; m++) {
        const source = this.shown.picture(i, m);
        if (!source || this.kept.has(source)) continue;
        const image = new Image();
        image.src = source;
        this.kept.set(source, image);
      }
    }

    // The step

    goTo(step) {
      this.state.step = Math.max(this.shown.first, Math.min(step, this.shown.view.amount));
      this.show();
    }

    show() {
      const {view} = this.shown, {step, rule} = this.state;
      const words = `step ${step} of ${view.amount}`, text = view.steps[step].text;
      const slider = this.get(".step");
      slider.value = step;
      slider.setAttribute("aria-valuetext", `${words}, ${text}`);
      this.get(".label").textContent = text;
      const place = this.shown.placesVary && step > 0 ? `${view.places.kind} differs by image` : this.shown.place(0, step);
      this.get(".place").textContent = `${words[0].toUpperCase()}${words.slice(1)} · ${place}`;
      slider.style.setProperty("--done", `${100 * (step - slider.min) / Math.max(1, slider.max - slider.min)}%`);
      const many = view.way.length > 2; // of two, the slider shows as much
      this.get(".shares").hidden = !many;
      this.get(".parts").textContent = many ? view.steps[step].shares.map((share, place) =>
        (share ? `${Math.round(share / 10)} % ${view.way[place]}` : "")).filter(Boolean).join(", ") : "";
      this.get(".shares").replaceChildren(...view.steps[step].shares.map((share, place) => {
        const part = make("i");
        part.style.width = `${share / 10}%`;
        part.style.opacity = 0.25 + 0.75 * place / Math.max(1, view.way.length - 1);
        part.title = `${share / 10} % ${view.way[place]}`;
        return part;
      }));
      const key = this.get(".sort").value, values = view.measures[key]?.values;
      for (const card of this.cards) {
        const label = this.shown.label(card.i, step, rule);
        this.setPicture(card.image, card.i, step);
        card.image.alt = `${this.shown.names[card.i]}, ${words}: ${label}`;
        card.button.setAttribute("aria-label", `${this.shown.names[card.i]}, ${label}: large view`);
        card.fillBar.parentElement.hidden = many;
        card.fillBar.style.width = `${100 * this.shown.share(card.i, step, rule)}%`;
        card.more.textContent = [label, this.shown.placesVary && step > 0 ? this.shown.place(card.i, step) : "",
          values && values[card.i] !== null ? `${key} ${values[card.i]}` : ""].filter(Boolean).join(" · ");
      }
      if (this.state.open !== null) this.showLarge();
    }

    setPicture(image, i, m) {
      const source = this.shown.picture(i, m);
      if (!source) image.removeAttribute("src");
      else if (image.getAttribute("src") !== source) image.src = source;
    }

    play() {
      const {first, view} = this.shown;
      let by = this.state.step >= view.amount ? -1 : 1, rest = 0;
      const button = this.get(".play");
      button.setAttribute("aria-pressed", "true");
      button.setAttribute("aria-label", "Pause");
      this.timer = setInterval(() => {
        if (rest > 0) { rest -= 1; return; }
        this.goTo(this.state.step + by);
        if (this.state.step >= view.amount || this.state.step <= first) { by = -by; rest = HOLD; }
      }, TICK);
    }

    stop() {
      clearInterval(this.timer);
      this.timer = null;
      this.get(".play").setAttribute("aria-pressed", "false");
      this.get(".play").setAttribute("aria-label", "Play");
    }

    // The large view

    get mode() { return this.get(".modes input:checked").value; }

    open(i) {
      this.state.open = i;
      this.fetchSteps(i);
      const {view, first} = this.shown, every = Math.ceil((view.amount + 1) / MOST_THUMBNAILS);
      const steps = view.steps.map((_, m) => m).filter((m) => m >= first && (m % every === 0 || m === view.amount));
      this.thumbnails = steps.map((m) => {
        const image = make("img", {loading: "lazy", alt: ""});
        this.setPicture(image, i, m);
        const button = make("button", {type: "button", "aria-label": `Step ${m}: ${view.steps[m].text}`}, image);
        button.addEventListener("click", () => { this.stop(); this.goTo(m); });
        return {m, button};
      });
      this.get(".strip").replaceChildren(...this.thumbnails.map(({button}) => make("li", {}, button)));
      this.showLarge();
      if (!this.dialog.open) this.dialog.showModal();
    }

    openBy(by) {
      const place = this.order.indexOf(this.state.open);
      const next = this.order[(place + by + this.order.length) % this.order.length];
      if (next !== undefined) this.open(next);
    }

    showLarge() {
      const {view} = this.shown, {open, step, against, rule} = this.state, mode = this.mode;
      const says = (m) => `Step ${m} · ${this.shown.label(open, m, rule)} · ${this.shown.place(open, m)}`;
      this.get(".large-name").textContent = this.shown.names[open];
      this.get(".stage").dataset.mode = mode;
      for (const [selector, m] of [[".one", against], [".two", step]]) {
        const image = this.get(selector);
        this.setPicture(image, open, m);
        image.alt = `${this.shown.names[open]}: ${says(m)}`;
        this.get(`${selector}-says`).textContent = says(m);
      }
      for (const [selector, m] of [[".large-step", step], [".against", against]]) {
        this.get(selector).value = m;
        this.get(selector).setAttribute("aria-valuetext", says(m));
      }
      this.get(".gain").hidden = mode !== "difference";
      this.get(".mode-reads").textContent = {
        beside: "Left what it is compared with, right the step that is shown. The arrow keys go from step to step.",
        swipe: "Drag the line: left of it is what it is compared with, right of it the step that is shown.",
        difference: "Black where the two pictures are equal; the brighter and the more colored, the more they differ. "
          + "Differences are enlarged, so that faint ones can be seen."}[mode];
      for (const {m, button} of this.thumbnails) button.setAttribute("aria-current", String(m === step));
    }

    divide(percent) {
      this.get(".divider").value = percent;
      this.get(".stage").style.setProperty("--at", `${percent}%`);
    }
  }

  // The previews of a training run, by step.
  function connectPreviews(root) {
    const previews = JSON.parse(root.querySelector("script").textContent), slider = root.querySelector(".step");
    const image = root.querySelector("img");
    let kept = []; // so that steps come at once
    const show = () => {
      const {step, url} = previews[Number(slider.value)];
      image.src = url;
      image.alt = `Samples at step ${step}`;
      root.querySelector(".told").textContent = `Step ${step}`;
      slider.setAttribute("aria-valuetext", `step ${step}`);
      slider.style.setProperty("--done", `${100 * slider.value / Math.max(1, previews.length - 1)}%`);
    };
    slider.addEventListener("pointerenter", () => {
      if (kept.length || previews.length > MOST_THUMBNAILS) return;
      kept = previews.map(({url}) => Object.assign(new Image(), {src: url}));
    });
    slider.addEventListener("input", show);
    show();
  }

  function connectTheme() {
    const button = document.querySelector(".theme"), names = ["auto", "light", "dark"];
    const told = {auto: "as the system has them", light: "light", dark: "dark"};
    let store = null; // a browser may keep none for files
    try { store = window.localStorage; } catch { /* the choice then lasts as long as the page */ }
    const use = (name) => {
      if (name === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = name;
      button.textContent = `Colors: ${name}`;
      button.setAttribute("aria-label", `Colors: ${told[name]}`);
      button.dataset.name = name;
    };
    use(names.includes(store?.getItem("add-theme")) ? store.getItem("add-theme") : "auto");
    button.addEventListener("click", () => {
      const next = names[(names.indexOf(button.dataset.name) + 1) % names.length];
      use(next);
      store?.setItem("add-theme", next);
    });
    button.hidden = false;
  }

  connectTheme();
  document.querySelectorAll(".viewer").forEach((root) => new Viewer(root));
  document.querySelectorAll(".previews").forEach(connectPreviews);
})();
