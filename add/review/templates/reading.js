"use strict";
(() => {
  const data = JSON.parse(document.getElementById("reading-data").textContent);
  const items = data.items, store = "add-reading-" + data.reading, find = (id) => document.getElementById(id);
  const form = find("questions"), slider = find("place"), reason = find("reason");
  let state = {reader: "", started: "", at: 0, answers: {}};
  let shownSince = 0, keeps = true;

  // What was said of each item lies in the browser's storage, under the digest of this page.
  const remember = () => {
    try {
      localStorage.setItem(store, JSON.stringify(state));
    } catch (error) {
      keeps = false;
    }
  };
  const recall = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(store));
      if (kept && typeof kept.answers === "object") state = {...state, ...kept};
    } catch (error) {
      keeps = false;
    }
  };

  const given = (item) => state.answers[item.item] ?? {};
  const isPlaced = (answer) => answer.place !== undefined && answer.place !== null;
  const isDone = (answer) => answer.real !== undefined && answer.keep !== undefined
    && (answer.keep ? isPlaced(answer) : Boolean((answer.reason ?? "").trim()));
  const countDone = () => items.filter((item) => isDone(given(item))).length;
  const change = (values) => {
    const item = items[state.at];
    state.answers[item.item] = {...given(item), ...values};
    find("said").textContent = "";
    form.querySelectorAll(".open").forEach((field) => field.classList.remove("open"));
    remember();
    show();
  };

  // The time for which an item is looked at: while the page is in front.
  const startClock = () => { shownSince = performance.now(); };
  const stopClock = () => {
    if (shownSince && !find("reading").hidden) {
      const item = items[state.at], seconds = (given(item).seconds ?? 0) + (performance.now() - shownSince) / 1000;
      state.answers[item.item] = {...given(item), seconds: Math.round(seconds * 10) / 10};
      remember();
    }
    shownSince = 0;
  };

  const only = (id) => {
    for (const name of ["start", "reading", "end"]) find(name).hidden = name !== id;
    find("progress").hidden = id === "start";
    document.body.classList.toggle("reads", id === "reading");
  };
  const percent = (place) => Math.round(100 * place) + " %";

  // Show what is known of the item; nothing here changes the answers.
  const show = () => {
    const answer = given(items[state.at]);
    for (const [name, value] of [["real", answer.real], ["keep", answer.keep]])
      for (const choice of form.elements[name]) choice.checked = value !== undefined && (choice.value === "yes") === value;
    const placed = isPlaced(answer);
    if (slider) {
      slider.value = placed ? Math.round(100 * answer.place) : 50;
      slider.classList.toggle("unset", !placed);
      slider.setAttribute("aria-valuetext", placed ? percent(answer.place) : "not placed yet");
    } else {
      for (const choice of form.elements.grade)
        choice.checked = placed && Math.round(answer.place * (data.grades - 1)) === Number(choice.value) - 1;
    }
    find("placed").textContent = !placed ? "not placed yet" : slider ? percent(answer.place)
      : "grade " + (Math.round(answer.place * (data.grades - 1)) + 1);
    find("why").hidden = answer.keep !== false;
    if (document.activeElement !== reason) reason.value = answer.reason ?? "";
    find("bar").value = countDone();
    find("counted").textContent = countDone() + " of " + items.length + " answered";
  };

  const open = (place) => {
    stopClock();
    state.at = Math.max(0, Math.min(place, items.length - 1));
    only("reading");
    const picture = find("picture");
    picture.src = items[state.at].image;
    picture.alt = "Image " + (state.at + 1) + " of " + items.length;
    find("where").textContent = picture.alt;
    find("back").disabled = state.at === 0;
    find("said").textContent = keeps ? "" : "This browser keeps no progress: save the answers before you close the page.";
    form.querySelectorAll(".open").forEach((field) => field.classList.remove("open"));
    reason.blur();
    reason.value = "";
    show();
    remember();
    picture.focus({preventScroll: true});
    startClock();
  };

  const finish = () => {
    stopClock();
    only("end");
    const left = items.length - countDone();
    find("missing").textContent = left ? left + (left === 1 ? " image has" : " images have") + " no complete answer yet." : "";
    find("thanks").focus();
  };

  const next = () => {
    const answer = given(items[state.at]);
    const lacking = [["ask-real", answer.real === undefined, "real or generated"],
      ["ask-place", answer.keep !== false && !isPlaced(answer), slider ? "the place" : "the grade"],
      ["ask-keep", answer.keep === undefined, "keep or reject"],
      ["ask-keep", answer.keep === false && !(answer.reason ?? "").trim(), "the reason"]].filter((row) => row[1]);
    if (lacking.length) {
      find("said").textContent = "Still to say: " + lacking.map((row) => row[2]).join(", ") + ".";
      lacking.forEach((row) => find(row[0]).classList.add("open"));
      return;
    }
    if (state.at + 1 < items.length) open(state.at + 1);
    else finish();
  };

  const place = (value) => change({place: Math.max(0, Math.min(1, Math.round(value * 1000) / 1000))});
  const reject = () => {
    change({keep: false});
    reason.focus();
  };

  const save = () => {
    stopClock();
    const answers = items.filter((item) => isDone(given(item))).map((item) => {
      const {real, place, keep, reason, seconds} = given(item);
      return {item: item.item, real, place: place ?? null, keep, reason: keep ? "" : reason.trim(), seconds: seconds ?? 0};
    });
    const content = {format: 1, reading: data.reading, reader: state.reader, started: state.started,
      saved: new Date().toISOString(), answers};
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], {type: "application/json"}));
    link.download = "answers_" + (state.reader.replace(/[^\p{L}\p{N}]+/gu, "_") .replace(/^_|_$/g, "") || "reader") + "_" + data.reading.slice(0, 6) + ".json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    const told = answers.length + " of " + items.length + " answers were saved as " + link.download + ", where this browser puts downloads.";
    find("saved").textContent = find("said").textContent = told;
    if (!find("reading").hidden) startClock();
  };

  // Take the answers of a file that this page saved elsewhere; those that stand here already win.
  const load = (text) => {
    let content = {};
    try {
      content = JSON.parse(text);
    } catch (error) {
      content = {};
    }
    if (content?.reading !== data.reading || !Array.isArray(content.answers)) {
      find("kept").textContent = "This is no file of answers to these images.";
      return;
    }
    for (const {item, real, place, keep, reason, seconds} of content.answers)
      if (items.some((own) => own.item === item))
        state.answers[item] = {real, place, keep, reason, seconds, ...state.answers[item]};
    state.reader ||= String(content.reader);
    state.started ||= String(content.started);
    const open = items.findIndex((item) => !isDone(given(item)));
    state.at = open < 0 ? items.length - 1 : open;
    remember();
    greet();
  };

  const resize = () => {
    const native = find("stand").classList.toggle("native");
    find("size").setAttribute("aria-pressed", String(native));
  };

  find("begin").addEventListener("submit", (event) => {
    event.preventDefault();
    state.reader = find("reader").value.trim();
    if (!state.reader) return;
    state.started ||= new Date().toISOString();
    open(state.at);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    next();
  });
  for (const name of ["real", "keep"])
    for (const choice of form.elements[name])
      choice.addEventListener("change", () => change({[name]: choice.value === "yes"}));
  if (slider) {
    for (const kind of ["input", "pointerup"])
      slider.addEventListener(kind, () => place(slider.value / 100));
  } else {
    for (const choice of form.elements.grade)
      choice.addEventListener("change", () => place((choice.value - 1) / (data.grades - 1)));
  }
  reason.addEventListener("input", () => change({reason: reason.value}));
  find("back").addEventListener("click", () => open(state.at - 1));
  find("again").addEventListener("click", () => open(items.length - 1));
  find("size").addEventListener("click", resize);
  for (const name of ["save", "save-now"]) find(name).addEventListener("click", save);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stopClock();
    else if (!find("reading").hidden) startClock();
  });
  window.addEventListener("pagehide", stopClock);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !find("start").hidden) return;
    const focused = document.activeElement, typing = focused === reason;
    if (event.key === "Escape" && typing) {
      reason.blur();
      return;
    }
    if (typing && event.key !== "Enter") return;
    const atEnd = find("reading").hidden, key = event.key.toLowerCase(), grades = data.grades;
    const step = event.shiftKey ? 0.05 : 0.01, now = given(items[state.at]).place ?? 0.5;
    const acts = {s: save, b: () => (atEnd ? open(items.length - 1) : state.at && open(state.at - 1))};
    if (!atEnd) {
      Object.assign(acts, {r: () => change({real: true}), g: () => change({real: false}), k: () => change({keep: true}),
        x: reject, z: resize});
      if (focused.tagName !== "BUTTON") acts.enter = next;
      if (slider && focused.type !== "radio")
        Object.assign(acts, {arrowleft: () => place(now - step), arrowright: () => place(now + step)});
      const digit = Number(event.key);
      if (digit >= 1 && digit <= (grades || 9)) acts[key] = () => place((digit - 1) / ((grades || 9) - 1));
    }
    if (acts[key]) {
      event.preventDefault();
      acts[key]();
    }
  });

  find("file").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (file) load(await file.text());
    event.target.value = "";  // so that the same file can be given again
  });

  const greet = () => {
    find("reader").value = state.reader;
    const done = countDone();
    if (done) {
      find("kept").textContent = "There are " + done + " of " + items.length + " answers. The reading goes on where it was left.";
      find("go").textContent = "Go on";
    } else if (!keeps) {
      find("kept").textContent = "This browser keeps no progress: please read in one sitting, or save the answers in between.";
    }
  };

  recall();
  greet();
})();
