"use strict";
// The page of an audit: the table of results is decoded once, filtered into a list of rows, and shown a page at a time.
// Everything of the user's enters the document as textContent, as an attribute's value or as a picture's data: address.
(() => {
  const $ = (id) => document.getElementById(id);
  const json = (id) => JSON.parse($(id).textContent);
  const PAGE = 60; // cards in the document at a time
  const UNKNOWN = 65535; // of a fraction; 65534 is 1

  // ---- The results, column by column --------------------------------------------------------------------------------
  const data = json("data");
  const { size, names, kinds } = data;
  const columns = decoded(data.columns);
  const { index, label, kind, flagged, suggested_label: suggested } = columns;
  const { source: sources = [], reasons = [] } = data.texts;
  const flaggedInAll = flagged.reduce((sum, f) => sum + f, 0);
  let rowByIndex, inlined, haystack; // made when they are first needed

  function decoded(packed) {
    const types = { u1: Uint8Array, u2: Uint16Array, i4: Int32Array };
    const found = {};
    for (const [name, [type, text]] of Object.entries(packed)) {
      const raw = atob(text);
      const bytes = new Uint8Array(raw.length);
      for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
      found[name] = new types[type](bytes.buffer);
    }
    return found;
  }

  function fraction(name, row) {
    const value = columns[name] ? columns[name][row] : UNKNOWN;
    return value === UNKNOWN ? NaN : value / (UNKNOWN - 1);
  }

  const rowOf = (one) => (rowByIndex = rowByIndex || new Map(Array.from(index, (i, row) => [i, row]))).get(one);
  const shownOf = (row) => (inlined = inlined || json("shown"))[index[row]] || {};
  const nameOf = (k) => (k < 0 ? "no label" : k < names.length ? names[k] : String(k));
  const spaced = (name) => name.replaceAll("_", " ");
  const suggestionOf = (row) => (suggested && suggested[row] !== label[row] ? suggested[row] : -1); // -1: none
  const count = (n) => n.toLocaleString("en");
  const announce = (words) => ($("said").textContent = words);

  /** A probability in words: no estimate is written as if it were certain. */
  function percent(p) {
    if (Number.isNaN(p)) return "unknown";
    return (p > 0.9995 ? "> 99.9" : p < 0.0005 ? "< 0.1" : (100 * p).toFixed(1)) + "\u00a0%";
  }

  /** A new element: its class, its text or its children, its attributes. */
  function make(tag, css, content, attributes) {
    const made = document.createElement(tag);
    if (css) made.className = css;
    if (Array.isArray(content)) made.append(...content);
    else made.textContent = content;
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    return made;
  }

  // ---- Decisions: kept in this browser under the digest of these results ----------------------------------------------
  const KEY = "tamis-audit-" + data.digest;
  const WORDS = { accept: "accepted", reject: "label kept", relabel: "relabelled", drop: "dropped" };
  let decisions = new Map(); // row -> {decision, label}, label -1 for none
  const past = []; // [row, the decision it had before]
  let kept = true;

  function load() {
    const found = new Map();
    try {
      for (const [one, decision, to] of JSON.parse(localStorage.getItem(KEY) || "[]")) {
        const known = Object.hasOwn(WORDS, decision) && Number.isInteger(to) && to >= -1 && to < names.length;
        if (known && rowOf(one) !== undefined) found.set(rowOf(one), { decision, label: to });
      }
    } catch {
      found.clear(); // no storage here, or something else under this name: save() finds out which
    }
    return found;
  }

  function save() {
    try {
      localStorage.setItem(KEY, JSON.stringify([...decisions].map(([row, d]) => [index[row], d.decision, d.label])));
      kept = true;
    } catch {
      kept = false;
    }
  }

  /** Do what a person asked for at a row; false, with a sentence, where it cannot be done. */
  function act(row, what, to) {
    if (what === "accept" && suggestionOf(row) < 0) {
      announce(`Example ${index[row]} has no other label suggested: x drops it, r keeps its label.`);
      return false;
    }
    past.push([row, decisions.get(row)]);
    const decision = what === "relabel" && to === label[row] ? "reject" : what; // the given class was chosen again
    const labels = { accept: suggestionOf(row), reject: label[row], relabel: to, drop: -1 };
    decisions.set(row, { decision, label: labels[decision] });
    settle(row, "");
    return true;
  }

  function undo() {
    if (!past.length) return;
    const [row, before] = past.pop();
    if (before) decisions.set(row, before);
    else decisions.delete(row);
    settle(row, "Undone. ");
    goTo(view.indexOf(row));
  }

  function settle(row, words) {
    save();
    $("cards").querySelectorAll(`[data-row="${row}"]`).forEach((card) => mark(card, row));
    showTally();
    announce(`${words}Example ${index[row]}: ${said(row)}.`);
  }

  function said(row) {
    const found = decisions.get(row);
    if (!found) return "undecided";
    return WORDS[found.decision] + (["accept", "relabel"].includes(found.decision) ? ": " + nameOf(found.label) : "");
  }

  function showTally() {
    const open = flaggedInAll - [...decisions.keys()].filter((row) => flagged[row]).length;
    $("tally").textContent = `${count(decisions.size)} decided, ${count(open)} flagged still open`;
    $("undo").disabled = !past.length;
    $("export").disabled = !decisions.size;
    $("unkept").hidden = kept;
  }

  // ---- Export: RFC 4180, and nothing that a spreadsheet would compute -------------------------------------------------
  function csvCell(value) {
    const text = /^['=+\-@\t\r\n＝＋－＠]/.test(value) ? "'" + value : value;
    return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function exportCsv() {
    const of = data.of ? [data.of] : []; // which data were decided about: no others are to be changed by it
    const lines = [...decisions.keys()].sort((a, b) => index[a] - index[b]).map((row) => {
      const { decision, label: to } = decisions.get(row);
      return [index[row], csvCell(sources[row] || ""), decision, to < 0 ? "" : csvCell(nameOf(to)), ...of].join(",");
    });
    const head = ["index,source,decision,label", ...of.map(() => "data")].join(",");
    const text = "\ufeff" + [head, ...lines, ""].join("\n"); // the mark tells Excel of UTF-8
    const link = make("a", "", "", { download: "decisions.csv" });
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    announce(`${count(decisions.size)} decisions exported as decisions.csv.`);
  }

  // ---- Filter and sort: `view` holds the rows that pass, in order -----------------------------------------------------
  const filter = { kind: "", brush: null };
  const orders = { order: columns.order };
  let view, inView, map, page = 0;

  /** All rows in the order of a column; equals stand most suspicious first, and what is unknown last. */
  function ordered(by) {
    if (orders[by]) return orders[by];
    const rank = new Int32Array(size);
    columns.order.forEach((row, place) => (rank[row] = place));
    const known = columns[by] instanceof Uint16Array ? (v) => v !== UNKNOWN : (v) => v >= 0;
    const direction = by === "variability" ? -1 : 1;
    const keys = Float64Array.from(columns[by], (v) => (known(v) ? direction * v : Infinity));
    const compare = (a, b) => (keys[a] === keys[b] ? rank[a] - rank[b] : keys[a] - keys[b]);
    return (orders[by] = columns.order.slice().sort(compare));
  }

  /** What a search looks through. */
  function words(row) {
    haystack = haystack || new Array(size);
    if (haystack[row] === undefined) {
      const { text = "", cells = [] } = shownOf(row);
      const labels = [nameOf(label[row]), suggestionOf(row) < 0 ? "" : nameOf(suggestionOf(row))];
      const all = ["#" + index[row], sources[row], reasons[row], ...labels, text, ...cells.flat()];
      haystack[row] = all.filter(Boolean).join("\n").toLowerCase();
    }
    return haystack[row];
  }

  function inBrush(row) {
    const { x0, x1, y0, y1 } = filter.brush;
    const x = fraction("variability", row);
    const y = fraction("confidence", row);
    return x >= x0 && x <= x1 && y >= y0 && y <= y1;
  }

  function applyFilters() {
    const search = $("search").value.trim().toLowerCase();
    const [given, wished, decided] = ["given", "suggested", "decided"].map((id) => $(id).value);
    const tests = [
      filter.brush && inBrush,
      filter.kind === "flagged" ? (row) => flagged[row] === 1 : filter.kind && ((row) => kind[row] === Number(filter.kind)),
      given && ((row) => label[row] === Number(given)),
      wished && ((row) => suggestionOf(row) === Number(wished)),
      decided && ((row) => decisions.has(row) === (decided === "done")),
      search && ((row) => words(row).includes(search)),
    ].filter(Boolean);
    view = ordered($("sort").value).filter((row) => tests.every((passes) => passes(row)));
    inView = new Uint8Array(size);
    for (const row of view) inView[row] = 1;
    const among = filter.brush ? index.reduce((sum, _, row) => sum + inBrush(row), 0) : size;
    const whole = filter.brush ? `the ${count(among)} examples in the rectangle` : `${count(size)} examples`;
    $("status").textContent = view.length ? `${count(view.length)} of ${whole}` : `None of ${whole} passes these filters.`;
    page = 0;
    showPage();
    if (map) map.draw();
  }

  // ---- The gallery ----------------------------------------------------------------------------------------------------
  function showPage() {
    const start = page * PAGE;
    const rows = Array.from(view.subarray(start, start + PAGE));
    $("cards").replaceChildren(...rows.map((row, k) => card(row, k === 0)));
    $("place").textContent = `${count(start + 1)}–${count(start + rows.length)} of ${count(view.length)}`;
    $("pages").hidden = view.length <= PAGE;
    $("previous").disabled = page === 0;
    $("next").disabled = start + PAGE >= view.length;
  }

  function card(row, current) {
    const made = $("card").content.firstElementChild.cloneNode(true);
    const put = (css, text) => (made.querySelector(css).textContent = text);
    const name = kinds[kind[row]];
    made.querySelector(".dot").classList.add(name);
    put(".name", spaced(name));
    put(".p", (kind[row] ? "" : "wrong label ") + percent(fraction("p", row)));
    put(".was", nameOf(label[row]));
    put(".index", "#" + index[row]);
    put(".source", sources[row] || "");
    const why = [reasons[row], also(row)].filter(Boolean).map((words) => make("p", "why", words));
    made.querySelector(".facts").append(...suggestion(row), ...why);
    made.querySelector(".body").prepend(...media(row));
    made.querySelector("[data-act=accept]").disabled = suggestionOf(row) < 0;
    made.dataset.row = row;
    made.tabIndex = current ? 0 : -1;
    mark(made, row);
    return made;
  }

  function suggestion(row) {
    const [to, p] = [suggestionOf(row), fraction("p_suggested", row)];
    if (to < 0) return [];
    const arrow = [make("span", "unseen", "suggested "), make("span", "arrow", "→ ", { "aria-hidden": true })];
    const sure = make("small", "", Number.isNaN(p) ? "" : " " + percent(p));
    return [make("p", p < 0.5 ? "new weak" : "new", [...arrow, make("strong", "", nameOf(to)), sure])];
  }

  /** The other kinds that are more likely than not. */
  function also(row) {
    const likely = kinds.filter((name, k) => k !== kind[row] && fraction("p_" + name, row) >= 0.5);
    return likely.map((name) => `also ${spaced(name)} ${percent(fraction("p_" + name, row))}`).join(", ");
  }

  /** What an example looks like; a duplicate has its neighbour beside it. */
  function media(row) {
    const near = columns.neighbour && kinds[kind[row]] === "duplicate" ? rowOf(columns.neighbour[row]) : undefined;
    if (near === undefined) return thing(row);
    const caption = make("figcaption", "", `its neighbour #${index[near]}, ${nameOf(label[near])}, ${sources[near] || ""}`);
    return [make("div", "pair", [...thing(row), make("figure", "", [...thing(near), caption])])];
  }

  function thing(row) {
    const { picture, text, cells } = shownOf(row);
    if (!picture && text === undefined && !cells) {
      return data.limit ? [make("p", "thing none", `not among the ${count(data.limit)} held in this page`)] : [];
    }
    const made = make("div", text === undefined && !cells ? "thing" : "thing wide");
    if (picture) {
      const image = make("img", "", "", { alt: `Example ${index[row]}`, src: "data:image/png;base64," + picture });
      image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 64));
      made.append(image);
    }
    const pairs = (cells || []).flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]);
    const box = (what) => ({ tabindex: 0, "aria-label": `${what} of example ${index[row]}` }); // Tab reaches what scrolls
    if (cells) made.append(make("dl", "cells", pairs, box("Row")));
    if (text !== undefined) made.append(make("blockquote", "", text, box("Text")));
    return [made];
  }

  /** A card's decision, in words, in colour and in what a screen reader says of it. */
  function mark(made, row) {
    made.dataset.decision = decisions.has(row) ? decisions.get(row).decision : "";
    made.querySelector(".outcome").textContent = decisions.has(row) ? said(row) : "";
    const to = suggestionOf(row) < 0 ? "" : `, suggested ${nameOf(suggestionOf(row))}`;
    const words = `${spaced(kinds[kind[row]])}, given ${nameOf(label[row])}${to}, ${said(row)}`;
    made.setAttribute("aria-label", `Example ${index[row]}, ${words}`);
  }

  /** Focus the example at a place of the view, turning the page where it lies on another. */
  function goTo(place) {
    if (place < 0 || place >= view.length) return;
    if (Math.floor(place / PAGE) !== page) {
      page = Math.floor(place / PAGE);
      showPage();
    }
    const made = $("cards").children[place - page * PAGE];
    makeCurrent(made);
    made.focus();
  }

  /** Tab comes back to this card. */
  const makeCurrent = (made) => [...$("cards").children].forEach((c) => (c.tabIndex = c === made ? 0 : -1));

  // ---- Keys and clicks on cards ---------------------------------------------------------------------------------------
  /** Whether this is a long text or row: there the arrows are the browser's, and scroll. */
  function scrolls(box) {
    const longer = box.scrollHeight > box.clientHeight || box.scrollWidth > box.clientWidth;
    return longer && box.matches(".cells, blockquote");
  }

  function onKey(event) {
    const made = event.target.closest(".card");
    if (!made || event.ctrlKey || event.metaKey || event.altKey) return;
    const cards = [...$("cards").children];
    const row = Number(made.dataset.row);
    const place = page * PAGE + cards.indexOf(made);
    const across = cards.filter((c) => c.offsetTop === cards[0].offsetTop).length;
    const moves = { ArrowRight: place + 1, ArrowLeft: place - 1, ArrowDown: place + across, ArrowUp: place - across,
                    Home: page * PAGE, End: page * PAGE + cards.length - 1 };
    const deeds = { a: "accept", r: "reject", x: "drop" };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const digit = /^[0-9]$/.test(key);
    if (key in moves && scrolls(event.target)) return;
    if (key in moves) goTo(moves[key]);
    else if (key in deeds) act(row, deeds[key]) && goTo(place + 1);
    else if (key === "u") undo();
    else if (digit && keyed && byTyping.has(key)) act(row, "relabel", byTyping.get(key)) && goTo(place + 1);
    else if (digit && keyed && !names.some((name) => name.startsWith(key))) announce(`No class has the key ${key}.`);
    else if (digit || key === "l") askForLabel(row, digit ? key : "");
    else return;
    event.preventDefault();
  }

  function onClick(event) {
    const button = event.target.closest("button[data-act]");
    if (!button) return;
    const made = button.closest(".card");
    makeCurrent(made);
    const row = Number(made.dataset.row);
    if (button.dataset.act === "relabel") askForLabel(row, "");
    else act(row, button.dataset.act);
  }

  // ---- Relabelling from a list ----------------------------------------------------------------------------------------
  const keyed = names.length <= 10; // classes have keys of their own
  const byTyping = typings();
  const numbers = []; // of a class, what is typed for it: its name where that is a number
  for (const [typed, k] of byTyping) numbers[k] = typed;
  let asked = -1;

  function askForLabel(row, typed) {
    asked = row;
    $("relabeltitle").textContent = `Example ${index[row]}: which class?`;
    $("wanted").value = typed;
    listChoices();
    $("relabel").showModal(); // the field for typing is its first, and has the focus
  }

  /** Classes by what a person types: a name, else the number in it where all have one, else its place among them. */
  function typings() {
    const ends = names.map((name) => /^(.*?)([-+]?[0-9.]+)$/s.exec(name) || []);
    const numeric = ends.every(([, stem, end]) => stem === ends[0][1] && Number.isFinite(Number(end)));
    const found = new Map(names.map((name, k) => [name, k]));
    names.forEach((name, k) => {
      const number = String(numeric ? Number(ends[k][2]) : k);
      if ((numeric || !/^[0-9]+$/.test(name)) && !found.has(number)) found.set(number, k);
    });
    return found;
  }

  /** A class in the list: its name, and what else gives it. */
  function choice(k) {
    const number = numbers[k] === undefined || numbers[k] === names[k] ? "" : numbers[k];
    if (!number || (keyed && number.length > 1)) return names[k];
    return `${names[k]} (${keyed ? "key" : "number"} ${number})`;
  }

  /** The best first: a whole name, a whole number, the beginning of a name. */
  function listChoices() {
    const typed = $("wanted").value.trim();
    const lower = typed.toLowerCase();
    const fits = (k) => {
      const name = names[k].toLowerCase();
      const number = numbers[k] || "";
      if (!lower) return 0;
      const ranks = [names[k] === typed, name === lower, number === lower, name.startsWith(lower)];
      return ranks.includes(true) ? ranks.indexOf(true) : name.includes(lower) || number.startsWith(lower) ? 4 : -1;
    };
    const found = names.map((_, k) => ({ k, rank: fits(k) })).filter((c) => c.rank >= 0);
    found.sort((a, b) => a.rank - b.rank || a.k - b.k);
    $("choices").replaceChildren(...found.map((c) => make("option", "", choice(c.k), { value: c.k })));
    $("choices").selectedIndex = found.length ? 0 : -1;
  }

  function chooseLabel() {
    if ($("choices").selectedIndex < 0) return;
    $("relabel").close();
    act(asked, "relabel", Number($("choices").value));
    goTo(view.indexOf(asked) + 1);
  }

  // ---- The data map: axes in SVG, points on a canvas by WebGL or, without it, by 2D -----------------------------------
  function makeMap() {
    const PAD = { left: 58, right: 16, top: 14, bottom: 40 };
    const plot = $("plot");
    const rows = columns.points;
    const radius = rows.length > 20000 ? 1.1 : rows.length > 5000 ? 1.6 : 2.2;
    const values = new Float32Array(2 * rows.length);
    const limit = data.widest; // where the axis of variability ends
    rows.forEach((row, k) => {
      values[2 * k] = fraction("variability", row);
      values[2 * k + 1] = fraction("confidence", row);
    });
    let width, height; // of the frame between the axes, in pixels; measured once a drawing
    const across = (v) => PAD.left + (v / limit) * width;
    const up = (v) => PAD.top + (1 - v) * height;
    const within = (v) => Math.min(1, Math.max(0, v));
    let canvas = $("points");
    let paint = null;

    /** `[r, g, b, opacity]` by `tone`: what the filters leave out stays as a shadow of the whole. */
    function palette() {
      const style = getComputedStyle(document.documentElement);
      return kinds.flatMap((name, k) => {
        const hex = style.getPropertyValue("--" + name).trim();
        const rgb = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
        return [[...rgb, 0.14], [...rgb, k ? 0.85 : 0.45]];
      });
    }
    const tone = (row) => 2 * kind[row] + inView[row];

    function draw() {
      if (!plot.clientWidth) return;
      const ratio = window.devicePixelRatio || 1;
      width = plot.clientWidth - PAD.left - PAD.right;
      height = plot.clientHeight - PAD.top - PAD.bottom;
      canvas.width = Math.round(plot.clientWidth * ratio);
      canvas.height = Math.round(plot.clientHeight * ratio);
      drawAxes();
      showRectangle(filter.brush);
      paint = paint || byWebgl() || flat();
      paint(ratio, palette());
    }

    function byWebgl() {
      const gl = canvas.getContext("webgl", { antialias: false, preserveDrawingBuffer: true });
      if (!gl) return null;
      const program = gl.createProgram();
      const shaders = [
        [gl.VERTEX_SHADER, `attribute vec2 value; attribute vec4 tone; uniform vec4 frame; uniform mediump float size;
          varying vec4 colour;
          void main() { colour = tone; gl_PointSize = size; gl_Position = vec4(value * frame.xy + frame.zw, 0.0, 1.0); }`],
        [gl.FRAGMENT_SHADER, `precision mediump float; uniform mediump float size; varying vec4 colour;
          void main() {
            float alpha = colour.a * clamp((0.5 - distance(gl_PointCoord, vec2(0.5))) * size, 0.0, 1.0);
            gl_FragColor = vec4(colour.rgb * alpha, alpha);
          }`],
      ];
      for (const [type, source] of shaders) {
        const shader = gl.createShader(type);
        gl.shaderSource(shader, source);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      gl.useProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return flatAnew();
      const fill = (name, content, type) => {
        gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
        gl.bufferData(gl.ARRAY_BUFFER, content, gl.DYNAMIC_DRAW);
        const place = gl.getAttribLocation(program, name);
        gl.enableVertexAttribArray(place);
        gl.vertexAttribPointer(place, content.length / rows.length, type, type === gl.UNSIGNED_BYTE, 0, 0);
      };
      const at = (name) => gl.getUniformLocation(program, name);
      const bytes = new Uint8Array(4 * rows.length);
      const quads = new Uint32Array(bytes.buffer); // the same, a colour at a time
      fill("value", values, gl.FLOAT);
      fill("tone", bytes, gl.UNSIGNED_BYTE); // stays bound: painting fills it anew
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      canvas.addEventListener("webglcontextlost", () => ((paint = flatAnew()), draw()));
      return (ratio, colours) => {
        const packed = new Uint32Array(Uint8Array.from(colours.flatMap(([r, g, b, a]) => [r, g, b, 255 * a])).buffer);
        rows.forEach((row, k) => (quads[k] = packed[tone(row)]));
        gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.DYNAMIC_DRAW);
        // from values to -1..1 of the canvas: scale, then offset
        const [w, h] = [plot.clientWidth / 2, plot.clientHeight / 2];
        gl.uniform4f(at("frame"), width / limit / w, height / h, across(0) / w - 1, 1 - up(0) / h);
        gl.uniform1f(at("size"), 2 * (radius + 0.5) * ratio);
        gl.viewport(0, 0, canvas.width, canvas.height);
        gl.clear(gl.COLOR_BUFFER_BIT);
        gl.drawArrays(gl.POINTS, 0, rows.length);
        plot.dataset.drawn = "webgl";
      };
    }

    /** A canvas that had a WebGL context gives no other: a fresh one takes its place. */
    function flatAnew() {
      canvas.replaceWith((canvas = canvas.cloneNode(true)));
      return flat();
    }

    function flat() {
      const context = canvas.getContext("2d");
      return (ratio, colours) => {
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.clearRect(0, 0, canvas.width, canvas.height);
        let last = -1; // the points lie sorted, and to set a style costs more than to draw
        rows.forEach((row, k) => {
          if (tone(row) !== last) context.fillStyle = `rgba(${colours[(last = tone(row))]})`;
          context.fillRect(across(values[2 * k]) - radius, up(values[2 * k + 1]) - radius, 2 * radius, 2 * radius);
        });
        plot.dataset.drawn = "2d";
      };
    }

    function drawAxes() {
      const parts = [];
      const put = (tag, attributes, text) => {
        const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
        for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
        made.textContent = text;
        parts.push(made);
      };
      for (let k = 0; k <= Math.round(10 * limit); k++) {
        put("line", { x1: across(k / 10), x2: across(k / 10), y1: up(1), y2: up(0) }, "");
        put("text", { x: across(k / 10), y: up(0) + 16, "text-anchor": "middle" }, (k / 10).toFixed(1));
      }
      for (const v of [0, 0.25, 0.5, 0.75, 1]) {
        put("line", { x1: across(0), x2: across(limit), y1: up(v), y2: up(v) }, "");
        put("text", { x: across(0) - 7, y: up(v) + 4, "text-anchor": "end" }, v.toFixed(2));
      }
      $("axes").replaceChildren(...parts);
    }

    // A rectangle is drawn with a pointer, or its edges are typed; both set filter.brush.
    function showRectangle(brush) {
      $("rectangle").hidden = !brush;
      $("unbrush").disabled = !brush;
      if (!brush) return;
      const [left, right] = [brush.x0, brush.x1].map((v) => across(Math.min(v, limit)));
      const [bottom, top] = [brush.y0, brush.y1].map(up);
      const [w, h] = [Math.max(0, right - left), Math.max(0, bottom - top)];
      Object.assign($("rectangle").style, { left: `${left}px`, top: `${top}px`, width: `${w}px`, height: `${h}px` });
    }

    function brushBetween(a, b) {
      const [x0, x1] = [a.x, b.x].map((px) => within((px - PAD.left) / width)).sort((p, q) => p - q);
      const [y0, y1] = [a.y, b.y].map((py) => within(1 - (py - PAD.top) / height)).sort((p, q) => p - q);
      return { x0: x0 * limit, x1: x1 * limit, y0, y1 };
    }

    function setBrush(brush) {
      filter.brush = brush;
      for (const edge of ["x0", "x1", "y0", "y1"]) $(edge).value = brush ? brush[edge].toFixed(3) : "";
      applyFilters();
    }

    function typed() {
      const filled = ["x0", "x1", "y0", "y1"].filter((edge) => $(edge).value !== "");
      const edges = filled.map((edge) => [edge, within(Number($(edge).value))]);
      filter.brush = filled.length ? { x0: 0, x1: 1, y0: 0, y1: 1, ...Object.fromEntries(edges) } : null;
      applyFilters();
    }

    let from = null; // where the pointer went down
    const at = (event) => {
      const frame = $("axes").getBoundingClientRect();
      return { x: event.clientX - frame.left, y: event.clientY - frame.top };
    };
    plot.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      from = at(event);
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener("pointermove", (event) => from && showRectangle(brushBetween(from, at(event))));
    plot.addEventListener("pointerup", (event) => {
      if (!from) return;
      const [start, end] = [from, at(event)];
      from = null; // a click without a drag takes the rectangle away
      setBrush(Math.abs(end.x - start.x) > 4 && Math.abs(end.y - start.y) > 4 ? brushBetween(start, end) : null);
    });
    plot.addEventListener("pointercancel", () => ((from = null), showRectangle(filter.brush)));
    $("edges").addEventListener("input", typed);
    $("unbrush").addEventListener("click", () => setBrush(null));
    new ResizeObserver(draw).observe(plot);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    return { draw };
  }

  // ---- Start ----------------------------------------------------------------------------------------------------------
  filter.kind = $("kinds").querySelector("[aria-pressed=true]").value;
  decisions = load();
  save();
  applyFilters();
  map = $("plot") && makeMap(); // draws itself as soon as it has a size
  showTally();

  let typing = 0;
  const on = (id, type, action) => $(id).addEventListener(type, action);
  for (const chip of $("kinds").children) {
    chip.addEventListener("click", () => {
      for (const other of $("kinds").children) other.setAttribute("aria-pressed", other === chip);
      filter.kind = chip.value;
      applyFilters();
    });
  }
  on("search", "input", () => (clearTimeout(typing), (typing = setTimeout(applyFilters, 120))));
  for (const id of ["given", "suggested", "decided", "sort"]) on(id, "change", applyFilters);
  on("previous", "click", () => goTo((page - 1) * PAGE));
  on("next", "click", () => goTo((page + 1) * PAGE));
  on("cards", "keydown", onKey);
  on("cards", "click", onClick);
  on("undo", "click", undo);
  on("export", "click", exportCsv);
  const withKeys = keyed ? names.map((name, k) => [numbers[k], name]).filter(([key]) => /^[0-9]$/.test(key)) : [];
  const how = withKeys.length ? "by a class’s key, below, or from the list" : "from the list, by a class’s name or number";
  $("digits").textContent = "relabel: " + how;
  $("classkeys").append(...withKeys.flatMap(([key, name], k) => [k ? " · " : "", make("kbd", "", key), " " + name]));
  on("help", "click", () => $("keys").showModal());
  on("wanted", "input", listChoices);
  on("choose", "click", chooseLabel);
  on("relabel", "keydown", (event) => {
    if (event.key === "ArrowDown" && event.target.id === "wanted") $("choices").focus();
    if (event.key !== "Enter" || event.target.id === "cancel") return;
    event.preventDefault();
    chooseLabel();
  });
  const writing = (event) => event.target.closest("input, select, dialog");
  document.addEventListener("keydown", (event) => event.key === "?" && !writing(event) && $("keys").showModal());
  addEventListener("storage", (event) => {
    if (event.key !== KEY) return; // another tab with this same page decided something
    decisions = load();
    for (const made of $("cards").children) mark(made, Number(made.dataset.row));
    showTally();
  });
  addEventListener("beforeunload", (event) => !kept && decisions.size && event.preventDefault());
})();
