"use strict";
(() => {
  const base = location.pathname.replace(/\/$/, "");
  const SWEEP = 41; // points of the what-if plot
  const LINES = 6; // classes that it shows
  const by = (id) => document.getElementById(id);
  let model = null;
  let values = {};
  let asking = null;
  let speak = 0;

  // small helpers

  function make(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key in node) node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }

  function draw(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function short(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return String(value);
    if (!Number.isFinite(value)) return String(value);
    if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e7) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  }

  function percent(share) {
    if (share > 0 && share < 0.0001) return "< 0.01 %";
    const digits = share === 0 || share === 1 ? 0 : share < 0.01 ? 2 : 1;
    return `${(100 * share).toFixed(digits)} %`;
  }

  /** A request with one tensor a line. */
  function written(request) {
    const lines = request.inputs.map((tensor) => `  ${JSON.stringify(tensor)}`);
    return `{"inputs": [\n${lines.join(",\n")}\n]}`;
  }

  function note(id, text) {
    by(id).textContent = text || "";
    by(id).hidden = !text;
  }

  async function call(path, options = {}) {
    let answer;
    try {
      answer = await fetch(base + path, { credentials: "same-origin", ...options });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server gives no answer. Is Volant running?");
    }
    const body = await answer.json().catch(() => null);
    if (answer.ok) return body;
    const told = body && (body.error || [body.detail, body.fix].filter(Boolean).join(" "));
    throw new Error(told || `The server answered ${answer.status}.`);
  }

  function post(path, body, signal) {
    const headers = { "Content-Type": "application/json" };
    return call(path, { method: "POST", headers, signal, body: typeof body === "string" ? body : JSON.stringify(body) });
  }

  // the controls

  function control(each, place) {
    const id = `c${place}`;
    const box = make("div", { className: "control" });
    const name = make("label", { className: "name", htmlFor: id, textContent: each.name });
    const head = make("div", { className: "row" }, name);
    box.append(head);
    const set = (value) => { values[each.name] = value; changed(); };
    let show;
    if ("min" in each) show = number(each, id, head, box, set);
    else if (each.type === "boolean") show = truth(each, id, head, set);
    else if (each.values) show = choice(each, id, box, set);
    else show = text(each, id, box, set);
    if (each.nullable) missing(each, head, box, set, show);
    return box;
  }

  function number(each, id, head, box, set) {
    const whole = each.type === "integer";
    const exact = make("input", { type: "number", step: "any", value: each.value, "aria-label": `${each.name}, exact value` });
    const slider = make("input", { type: "range", id, min: each.min, max: each.max, step: each.step, value: each.value });
    const low = make("span", { textContent: short(each.min) });
    const high = make("span", { textContent: short(each.max) });
    const range = make("div", { className: "range" }, low, slider, high);
    range.title = each.seen ? `The range in ${each.seen} rows of ${model.dataset}` : "Nobody has said what range this column has";
    slider.addEventListener("input", () => { exact.value = whole ? Math.round(slider.value) : slider.value; set(Number(exact.value)); });
    exact.addEventListener("input", () => {
      const value = Number(exact.value);
      if (exact.value === "" || !Number.isFinite(value)) return;
      // A value beyond the range makes the slider longer.
      if (value < slider.min) { slider.min = value; low.textContent = short(value); each.min = value; }
      if (value > slider.max) { slider.max = value; high.textContent = short(value); each.max = value; }
      slider.value = value;
      set(whole ? Math.round(value) : value);
    });
    head.append(exact);
    box.append(range);
    return { parts: [slider, exact], now: () => Number(exact.value) };
  }

  function truth(each, id, head, set) {
    const tick = make("input", { type: "checkbox", id, checked: each.value });
    tick.addEventListener("change", () => set(tick.checked));
    head.append(tick);
    return { parts: [tick], now: () => tick.checked };
  }

  function choice(each, id, box, set) {
    const list = make("select", { id, className: "wide" }, ...each.values.map((value) => make("option", { value, textContent: value })));
    list.value = each.value;
    list.addEventListener("change", () => set(list.value));
    box.append(list);
    return { parts: [list], now: () => list.value };
  }

  function text(each, id, box, set) {
    const long = each.suggestions.length === 0 ? model.controls.length === 1 : each.value.length > 60;
    const field = long ? make("textarea", { id, rows: 4 }) : make("input", { type: "text", id, className: "wide" });
    field.value = each.value;
    field.addEventListener("input", () => set(field.value));
    box.append(field);
    if (!long && each.suggestions.length) {
      field.setAttribute("list", `${id}-list`);
      box.append(make("datalist", { id: `${id}-list` }, ...each.suggestions.map((value) => make("option", { value }))));
    }
    return { parts: [field], now: () => field.value };
  }

  function missing(each, head, box, set, show) {
    const tick = make("input", { type: "checkbox" });
    const label = make("label", { className: "inline" }, tick, "missing");
    tick.setAttribute("aria-label", `${each.name} is missing`);
    tick.addEventListener("change", () => {
      for (const part of show.parts) part.disabled = tick.checked;
      set(tick.checked ? null : show.now());
    });
    head.append(label);
  }

  function build() {
    values = Object.fromEntries(model.controls.map((each) => [each.name, each.value]));
    by("controls").replaceChildren(...model.controls.map(control));
  }

  // asking

  const TYPES = { number: "FP64", integer: "INT64", boolean: "BOOL" };

  function request(rows) {
    if (model.tensor) {
      const data = rows.flatMap((row) => model.controls.map((each) => row[each.name]));
      const { name, datatype } = model.tensor;
      return { id: model.id, inputs: [{ name, shape: [rows.length, model.controls.length], datatype, data }] };
    }
    return {
      id: model.id,
      inputs: model.controls.map((each) => ({
        name: each.name,
        shape: [rows.length],
        datatype: TYPES[each.type] || "BYTES",
        data: rows.map((row) => row[each.name]),
      })),
    };
  }

  function sweep() {
    const each = model.controls.find((one) => one.name === by("varied").value);
    if (!each) return [];
    let points;
    if ("min" in each) {
      points = Array.from({ length: SWEEP }, (_, i) => each.min + ((each.max - each.min) * i) / (SWEEP - 1));
      if (each.type === "integer") points = [...new Set(points.map(Math.round))];
    } else if (each.type === "boolean") points = [false, true];
    else points = (each.values || []).slice(0, 30);
    return points.map((point) => ({ ...values, [each.name]: point }));
  }

  /** Outputs → one {label, shares} a row. */
  function answers(outputs, count) {
    const width = (output) => output.data.length / count;
    const flat = outputs.find((o) => o.name === "prediction") || outputs.find((o) => width(o) === 1);
    const wide = outputs.find((o) => o.name === "probabilities") || (model.task !== "regression" && outputs.find((o) => o !== flat && width(o) > 1));
    return Array.from({ length: count }, (_, row) => {
      const cut = (output) => output.data.slice(row * width(output), (row + 1) * width(output));
      const shares = wide ? cut(wide) : null;
      let label = flat ? flat.data[row] : null;
      if (!flat && shares) label = names(shares.length)[shares.indexOf(Math.max(...shares))];
      if (!flat && !shares) label = outputs.map((o) => cut(o).slice(0, 8).map(short).join(", ")).join(" · ");
      return { label, shares };
    });
  }

  function names(count) {
    const known = model.classes || [];
    return Array.from({ length: count }, (_, i) => String(i < known.length ? known[i] : i));
  }

  let due = 0;
  function changed() {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(ask);
  }

  async function ask() {
    if (asking) asking.abort();
    const mine = (asking = new AbortController());
    const rows = [{ ...values }, ...sweep()];
    try {
      const told = await post("/infer", request(rows), mine.signal);
      if (mine !== asking) return;
      const found = answers(told.outputs, rows.length);
      note("failure", "");
      tell(found[0]);
      plot(rows.slice(1), found.slice(1), found[0]);
    } catch (error) {
      if (error.name === "AbortError" || mine !== asking) return;
      note("failure", error.message);
      by("prediction").textContent = "–";
      by("bars").replaceChildren();
    }
    by("request-text").textContent = written(request([values]));
  }

  function tell(answer) {
    by("prediction").textContent = short(answer.label);
    const shares = answer.shares || [];
    const bars = names(shares.length).map((name, i) => ({ name, share: shares[i] }));
    bars.sort((a, b) => (bars.length > 8 ? b.share - a.share : 0));
    const top = Math.max(...shares);
    by("bars").replaceChildren(
      ...bars.slice(0, 12).map(({ name, share }) => {
        const fill = make("div", { className: "fill" });
        fill.style.width = `${100 * share}%`;
        return make(
          "div",
          { className: share === top ? "bar top" : "bar" },
          make("span", { textContent: name }),
          make("div", { className: "track" }, fill),
          make("span", { className: "share", textContent: percent(share) }),
        );
      }),
    );
    clearTimeout(speak);
    speak = setTimeout(() => {
      const sure = shares.length ? `, probability ${percent(top)}` : "";
      by("spoken").textContent = `Prediction ${short(answer.label)}${sure}`;
    }, 700);
  }

  // the what-if plot

  const H = 280, LEFT = 52, RIGHT = 14, TOP = 12, BOTTOM = 34;
  let W = 640; // as wide as there is room, so that its text is never scaled

  function ticks(low, high, count = 5) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
    return found;
  }

  function plot(rows, found, now) {
    const holder = by("plot");
    W = Math.max(280, holder.clientWidth || 640);
    const name = by("varied").value;
    const each = model.controls.find((one) => one.name === name);
    if (!rows.length || !each) {
      holder.replaceChildren(make("p", { className: "quiet", textContent: "A text can't be varied; choose another column." }));
      by("legend").replaceChildren();
      return;
    }
    const scale = "min" in each;
    const shares = now.shares && now.shares.length > 1;
    const numeric = found.every((one) => typeof one.label === "number") && !(model.classes && !shares);
    const xs = rows.map((row, i) => (scale ? row[name] : i));
    const [x0, x1] = scale ? [xs[0], xs[xs.length - 1]] : [-0.5, rows.length - 0.5];
    const X = (x) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (W - LEFT - RIGHT);
    const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
    let told, legend = [];
    if (shares || numeric) {
      const series = shares ? chosen(found, now) : [{ label: "", ys: found.map((one) => one.label) }];
      told = lines(svg, series, xs, X, { scale, rows: rows.map((row) => row[name]), bounds: shares ? [0, 1] : null });
      legend = shares ? series.map((one) => one.label) : [];
    } else {
      legend = [...new Set(found.map((one) => String(one.label)))];
      const step = X(xs[1] ?? x1) - X(xs[0]);
      found.forEach((one, i) => {
        const place = legend.indexOf(String(one.label)) % LINES;
        svg.append(draw("rect", { x: X(xs[i]) - step / 2, y: TOP + 40, width: Math.abs(step) + 0.5, height: H - TOP - BOTTOM - 80, class: `f${place}` }));
      });
      told = `classes ${legend.join(", ")}`;
    }
    axis(svg, X, x0, x1, scale, rows.map((row) => row[name]));
    const at = scale ? values[name] : rows.findIndex((row) => row[name] === values[name]);
    if (at !== null && at >= x0 && at <= x1) svg.append(draw("line", { x1: X(at), x2: X(at), y1: TOP, y2: H - BOTTOM, class: "here" }));
    svg.setAttribute("aria-label", `How the prediction follows ${name}: ${told}`);
    holder.replaceChildren(svg);
    by("legend").replaceChildren(...legend.slice(0, LINES).map((label, i) => make("span", {}, make("i", { className: `f${i}` }), label)));
  }

  /** The classes that the plot shows: those that are most likely somewhere. */
  function chosen(found, now) {
    const all = names(now.shares.length).map((label, i) => ({ label, ys: found.map((one) => one.shares[i]) }));
    if (all.length === 2) return [all[1]];
    const most = [...all].sort((a, b) => Math.max(...b.ys) - Math.max(...a.ys)).slice(0, LINES);
    return all.filter((one) => most.includes(one));
  }

  function lines(svg, series, xs, X, { scale, bounds }) {
    const every = series.flatMap((one) => one.ys).filter(Number.isFinite);
    let [low, high] = bounds || [Math.min(...every), Math.max(...every)];
    if (!bounds) {
      const room = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
      [low, high] = [low - room, high + room];
    }
    const Y = (y) => H - BOTTOM - ((y - low) / (high - low)) * (H - TOP - BOTTOM);
    for (const tick of ticks(low, high)) {
      svg.append(
        draw("line", { x1: LEFT, x2: W - RIGHT, y1: Y(tick), y2: Y(tick), class: "grid" }),
        draw("text", { x: LEFT - 7, y: Y(tick) + 4, "text-anchor": "end" }, bounds ? `${Math.round(tick * 100)} %` : short(tick)),
      );
    }
    series.forEach((one, i) => {
      if (scale) {
        const points = one.ys.map((y, j) => `${X(xs[j]).toFixed(1)},${Y(y).toFixed(1)}`);
        svg.append(draw("polyline", { points: points.join(" "), class: `line s${i}` }));
      } else {
        const room = (X(1) - X(0)) * 0.8, wide = room / series.length;
        const floor = Y(Math.max(low, Math.min(high, bounds ? 0 : low)));
        one.ys.forEach((y, j) => svg.append(draw("rect", { x: X(xs[j]) - room / 2 + i * wide, y: Y(y), width: Math.max(1, wide - 1), height: Math.max(0.5, floor - Y(y)), class: `f${i}` })));
      }
    });
    const ends = series[0].ys;
    const how = (y) => (bounds ? percent(y) : short(y));
    return `${series[0].label} from ${how(Math.min(...ends))} to ${how(Math.max(...ends))}`.trim();
  }

  function axis(svg, X, x0, x1, scale, points) {
    const y = H - BOTTOM;
    svg.append(draw("line", { x1: LEFT, x2: W - RIGHT, y1: y, y2: y, class: "grid" }));
    const every = Math.ceil(points.length / 8);
    const marks = scale ? ticks(x0, x1, Math.max(4, Math.round(W / 100))).map((at) => [at, short(at)]) : points.map((point, i) => [i, String(point)]).filter((_, i) => i % every === 0);
    const most = scale ? 12 : Math.max(4, Math.floor(W / 8 / marks.length));
    for (const [at, label] of marks) {
      const cut = label.length > most ? `${label.slice(0, most - 1)}…` : label;
      svg.append(draw("text", { x: X(at), y: y + 20, "text-anchor": "middle" }, cut));
    }
  }

  // requests of others

  async function look() {
    by("look").disabled = true;
    try {
      const report = await call("/sent");
      const off = report.verdict !== "right";
      note("warning", report.verdict === "order" ? `Clients: ${report.told}` : "");
      const known = model.controls.some((each) => each.seen && "min" in each);
      const none = !report.rows ? "No client has asked yet, or nothing is logged." : "";
      const blind = !none && !known ? "Nobody knows what values this model was trained on, so there is nothing to compare with." : "";
      by("sent-told").textContent = none || blind || `${report.told} (${report.rows} rows)`;
      by("sent-told").className = off ? "note warning" : "quiet";
      by("sent").replaceChildren(...(report.rows && report.columns.length ? [table(report.columns)] : []));
    } catch (error) {
      by("sent-told").textContent = error.message;
    }
    by("look").disabled = false;
  }

  function table(columns) {
    const head = make("tr", {}, ...["column", "trained on", "sent", "inside", "looks like"].map((text) => make("th", { scope: "col", textContent: text })));
    const rows = columns.map((each) => make(
      "tr", {},
      make("td", { textContent: each.name }),
      make("td", { textContent: `${short(each.min)} … ${short(each.max)}` }),
      make("td", { textContent: each.low === null ? "–" : `${short(each.low)} … ${short(each.high)}` }),
      make("td", { textContent: percent(each.inside), className: each.inside < 0.5 ? "off" : "" }),
      make("td", { textContent: each.look_like.join(", ") }),
    ));
    return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  }

  async function check() {
    let told;
    try {
      told = await post("/check", by("pasted").value || "null");
    } catch (error) {
      told = { findings: [{ level: "error", told: error.message }], better: null };
    }
    by("findings").replaceChildren(...told.findings.map((each) => make("li", { className: each.level, textContent: each.told })));
    by("better").hidden = !told.better;
    by("better-text").textContent = told.better ? written(told.better) : "";
  }

  async function send() {
    try {
      by("raw-answer").textContent = JSON.stringify(await post("/infer", by("raw").value), null, 1);
    } catch (error) {
      by("raw-answer").textContent = error.message;
    }
  }

  // start

  function about() {
    const parts = [`model ${model.model}, version ${model.version}`, model.task];
    if (model.dataset) parts.push(`trained on dataset ${model.dataset}`);
    by("about").textContent = parts.filter(Boolean).join(" · ");
    by("request-url").textContent = model.infer_url;
  }

  async function start() {
    try {
      model = await call("/model");
    } catch (error) {
      by("about").textContent = "";
      note("failure", error.message);
      return;
    }
    about();
    by("check").addEventListener("click", check);
    by("look").addEventListener("click", look);
    if (!model.controls.length) {
      for (const id of ["answer", "inputs", "what-if"]) by(id).hidden = true;
      by("by-hand").hidden = false;
      const inputs = model.tensors.map(({ name, datatype, shape }) => ({ name, shape: shape.map((n) => (n < 0 ? 1 : n)), datatype, data: [] }));
      by("raw").value = JSON.stringify({ inputs }, null, 1);
      by("send").addEventListener("click", send);
      return;
    }
    const varied = model.controls.filter((each) => !each.suggestions);
    by("varied").replaceChildren(...(varied.length ? varied : model.controls).map((each) => make("option", { value: each.name, textContent: each.name })));
    by("varied").addEventListener("change", changed);
    by("what-if").hidden = !varied.length;
    by("request").hidden = false;
    by("inputs").addEventListener("submit", (event) => event.preventDefault());
    by("reset").addEventListener("click", () => { build(); ask(); });
    let room = 0;
    new ResizeObserver(() => {
      const now = by("plot").clientWidth;
      if (room && Math.abs(now - room) > 8) changed();
      room = now;
    }).observe(by("plot"));
    build();
    await ask();
    look();
  }

  start();
})();
