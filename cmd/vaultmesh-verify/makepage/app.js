"use strict";
const byID = (id) => document.getElementById(id);
const files = { bundle: null, trust: null, head: null };
const largest = 256 * 1024 * 1024; // receipt.MaxBundle
const prompts = { bundle: byID("bundle-name").textContent, trust: byID("trust-name").textContent, head: byID("head-name").textContent };
let runs = 0; // judgements that are shown so far

// element makes an element; children are nodes or text, never markup: nothing of a file is ever parsed as HTML.
function element(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== false) e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return e;
}

async function start() {
  const text = byID("wasm").textContent.trim();
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const go = new Go();
  const { instance } = await WebAssembly.instantiate(await new Response(stream).arrayBuffer(), go.importObject);
  go.run(instance);
  byID("wasm").remove();
}

const ready = start().then(() => ready.done = true);
ready.then(update, (err) => { byID("status").textContent = "The verifier cannot start in this browser: " + err; });

function update() {
  const go = byID("go");
  go.disabled = !(ready.done && files.bundle && files.trust);
  byID("status").textContent = !ready.done ? "Loading the verifier…" : go.disabled ? "Choose both files." : "";
}

// take reads a file. Until it is read, and where it cannot be, nothing is chosen: an earlier file is not judged in its place.
async function take(which, file) {
  files[which] = null;
  const name = byID(which + "-name"), zone = byID("drop-" + which);
  if (zone) zone.classList.remove("chosen", "failed");
  let text = prompts[which];
  try {
    if (file && file.size > largest) throw new Error("it is larger than " + size(largest));
    if (file) {
      files[which] = new Uint8Array(await file.arrayBuffer());
      text = file.name + " (" + size(file.size) + ")";
      if (zone) zone.classList.add("chosen");
    }
  } catch (err) {
    text = file.name + " cannot be read: " + (err.message || err) + ". Choose the file again; a folder or a link is none.";
    if (zone) zone.classList.add("failed");
  }
  if (name) name.textContent = text;
  update();
  if (file && !files[which]) byID("status").textContent = text;
  else if (which !== "head" && !byID("go").disabled) await judge();
}

for (const which of ["bundle", "trust", "head"]) {
  byID(which).addEventListener("change", (e) => take(which, e.target.files[0]));
}
for (const which of ["bundle", "trust"]) {
  const zone = byID("drop-" + which);
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (e) => { e.preventDefault(); zone.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (e) => { e.preventDefault(); if (e.dataTransfer.files.length) take(which, e.dataTransfer.files[0]); });
}
for (const name of ["dragover", "drop"]) window.addEventListener(name, (e) => e.preventDefault());
byID("inputs").addEventListener("submit", (e) => { e.preventDefault(); judge(); });

async function judge() {
  await ready;
  byID("status").textContent = "Verifying…";
  await new Promise((resolve) => setTimeout(resolve, 20)); // lets the browser paint before the work
  if (byID("go").disabled) return; // another file is being read, and is judged then
  const began = performance.now();
  let view;
  try {
    view = verify();
  } catch (err) {
    view = { error: "The verifier stopped: " + err + ". Load the page again; if it stays so, use the program vaultmesh-verify." };
  }
  byID("status").textContent = view.error ? "Nothing was judged." : "Judged in " + Math.round(performance.now() - began) + " ms on this machine.";
  show(view);
}

function verify() {
  const number = byID("size").value.trim(), root = byID("root").value.trim();
  if (number && !/^[0-9]{1,19}$/.test(number)) return { error: "The size of the log that you know is not a whole number: write digits alone, for example 1204." };
  if (!number !== !root) return { error: "The size of the log that you know and its root belong together: give both, or neither." };
  const options = {
    complete: byID("complete").checked, size: number || "0", root: root,
    head: files.head ? new TextDecoder().decode(files.head) : "", now: new Date().toISOString(),
  };
  return JSON.parse(vaultmeshVerify(files.bundle, files.trust, new TextEncoder().encode(JSON.stringify(options))));
}

function show(view) {
  const out = byID("result");
  out.replaceChildren();
  if (view.error) {
    out.append(banner(false, "Nothing to judge", view.error));
  } else {
    const r = view.report;
    const failed = r.checks.filter((c) => !c.ok && !c.detail.startsWith("not judged"));
    const part = r.checks.filter((c) => c.ok && c.partial).length;
    out.append(banner(r.ok, r.ok ? "Verified" : "Refused", r.ok
      ? "Every one of " + r.checks.length + " checks holds, by the keys that you pinned" + (part ? "; " + part + " of them in part only, see below." : ".")
      : failed.length + (failed.length === 1 ? " check does" : " checks do") + " not hold. Do not rely on this bundle."));
    if (!r.ok) out.append(failures(failed, view.parts));
    if (r.commands) out.append(story(r.commands));
    const said = [sentences("What is proved", r.proved, "proved"), sentences("What is not proved", r.not_proved, "missing")].filter((s) => s);
    if (said.length) out.append(element("div", { class: "pair" }, ...said));
    if (r.anchors) out.append(anchors(r.anchors));
    out.append(checks(r), parts(view.parts), save(r));
  }
  out.dataset.verdict = view.error ? "error" : view.report.ok ? "ok" : "refused";
  out.dataset.run = String(++runs);
  out.focus();
}

function svg(ok) {
  const ns = "http://www.w3.org/2000/svg";
  const s = document.createElementNS(ns, "svg");
  s.setAttribute("viewBox", "0 0 48 48");
  s.setAttribute("aria-hidden", "true");
  const circle = document.createElementNS(ns, "circle");
  for (const [k, v] of [["cx", 24], ["cy", 24], ["r", 21]]) circle.setAttribute(k, v);
  const path = document.createElementNS(ns, "path");
  path.setAttribute("d", ok ? "m14 25 7 7 14-15" : "m16 16 16 16m0-16-16 16");
  s.append(circle, path);
  return s;
}

function banner(ok, title, text) {
  return element("div", { class: "verdict " + (ok ? "good" : "bad") }, svg(ok), element("div", null, element("h2", { id: "verdict" }, title), element("p", null, text)));
}

// alike puts together what has the same text, in the order of the first.
function alike(list, textOf) {
  const groups = new Map();
  for (const x of list) {
    const text = textOf(x);
    if (!groups.has(text)) groups.set(text, []);
    groups.get(text).push(x);
  }
  return groups;
}

// many is one line for one thing, and for many of the same text one line with their number that unfolds to their names.
function many(text, names, thing) {
  if (names.length === 1) return element("p", { class: "failure" }, element("span", { class: "item" }, names[0]), " " + text);
  const rest = names.length - 500;
  return element("details", { class: "failure" },
    element("summary", null, element("strong", null, names.length + " " + thing), element("span", null, text)),
    element("ul", null, ...names.slice(0, 500).map((n) => element("li", { class: "item" }, n)), rest > 0 ? element("li", null, "… and " + rest + " more") : ""));
}

function failures(failed, parts) {
  const section = element("section", { class: "tree", "aria-label": "What does not hold" }, element("h2", null, "What does not hold"));
  for (const [text, group] of alike(failed, (c) => c.detail)) section.append(many(text, group.map((c) => c.name), "checks"));
  const bad = parts.filter((p) => p.failed);
  if (bad.length) section.append(element("h3", null, "Parts of the bundle that are wrong"));
  for (const [text, group] of alike(bad, (p) => p.failed.join("; "))) section.append(many(text, group.map((p) => p.name), "parts"));
  return section;
}

function sentences(title, list, kind) {
  if (!list) return null;
  return element("section", null, element("h2", null, title), element("ul", { class: "plain " + kind }, ...list.map((s) => element("li", null, s[0].toUpperCase() + s.slice(1)))));
}

const clock = (t) => t ? element("time", { datetime: t }, t.replace("T", " ").replace(/\.(\d{3})\d*Z$/, ".$1Z")) : "";

function step(text, t, kind) { return element("li", { class: kind }, text + " ", clock(t)); }

function story(commands) {
  const section = element("section", null, element("h2", null, "What happened"));
  for (const c of commands.slice(0, 200)) {
    const box = element("article", { class: "command" });
    if (!c.verified) {
      box.append(element("header", null, element("h3", null, c.command), element("span", { class: "chip warn" }, "nothing is proved about it")));
      section.append(box);
      continue;
    }
    const bad = ["denied", "rejected", "refused", "diverged", "halted", "timed_out", "expired", "cancelled"].includes(c.state);
    box.append(element("header", null, element("h3", null, c.principal + " → " + c.twin), element("code", null, c.name + " " + JSON.stringify(c.args)), element("span", { class: "chip " + (bad ? "bad" : "good") }, c.state)));
    const life = element("ol", { class: "life" }, step("Proposed by " + c.principal, c.proposed));
    if (c.simulation) life.append(step("Predicted " + c.simulation.outcome + (c.simulation.reason ? ": " + c.simulation.reason : ""), null, c.simulation.outcome === "safe" ? "" : "bad"));
    for (const a of c.approvals || []) life.append(step("Approved by " + a.approver, a.time));
    if (c.dispatched) life.append(step("Sent to " + c.device, c.dispatched));
    for (const [name, v] of Object.entries(c.observed || {})) life.append(step("The asset reported " + name + " = " + JSON.stringify(v.value), v.time));
    life.append(step(ending(c), c.ended, bad ? "bad" : "good"));
    box.append(life);
    section.append(box);
  }
  if (commands.length > 200) section.append(element("p", null, "… and " + (commands.length - 200) + " more commands"));
  return section;
}

function ending(c) {
  const why = (c.reasons || []).slice(0, 4).join("; ");
  const words = { aligned: "The asset did what was commanded", diverged: "The asset did not follow", denied: "Denied" + (c.stage ? " at stage " + c.stage : "") };
  return (words[c.state] || c.state + " by " + c.ended_by) + (why ? ": " + why : "") + (c.device ? "" : "; nothing was sent to a device");
}

const kinds = { rfc3161: "Time-stamping authority", bitcoin: "Bitcoin", ethereum: "Ethereum", witness: "Witnesses" };

function anchors(list) {
  const rows = list.map((a) => element("tr", null, element("td", null, kinds[a.kind] || a.kind), element("td", null, "the first " + a.size + " receipts"), element("td", null, clock(a.time)),
    element("td", null, a.source + (a.block ? ", block " + a.height + " " + a.block.slice(0, 18) + "…" : ""))));
  return element("section", null, element("h2", null, "Proofs of time"), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Proofs of time" }, element("table", null,
    element("thead", null, element("tr", null, ...["By", "What existed", "At the latest", "Source"].map((h) => element("th", { scope: "col" }, h)))), element("tbody", null, ...rows))));
}

const meaning = {
  "bundle.format": "The file has the one form that a bundle may have", "trust.keys": "Your trust file can be used, and is for this domain", "bundle.manifest": "No part was added, left out or changed",
  "bundle.scope": "It holds what it says it is about", "log.checkpoint": "The log's own key signed its state", "log.consistency": "The log only grew", "log.witness": "Independent witnesses saw the same log",
  "log.head": "It is the log that you know", "receipt.signature": "Each receipt is signed by a key that you trust", "receipt.inclusion": "The log holds each receipt", "receipt.time": "Times run forward, none is back-dated",
  "subject.chain": "Nothing is missing between a history's receipts", "receipt.causes": "Causes came before their effects", "command.transitions": "Each command took only steps that are allowed",
  "command.binding": "Every step is about the same command", "command.halt": "No command went out while the domain was halted", "input.binding": "What decisions saw is what their receipts name", "policy.accepted": "Only policies that you accept decided", "approval.signature": "The people who approved signed exactly this",
  "capability.chain": "The agent was allowed to ask", "capability.revocation": "Its permission was not revoked", "telemetry.proof": "The asset really reported it", "timestamp.rfc3161": "Time-stamping authorities", "anchor.bitcoin": "Bitcoin",
  "anchor.ethereum": "Ethereum", "state.proof": "What the state of the domain was", "history.complete": "What is shown completely",
};

const words = {
  bundle: "The file and your keys", trust: "The file and your keys", log: "The log", receipt: "The receipts", subject: "The receipts", command: "The commands", input: "The commands", policy: "The commands",
  approval: "The commands", capability: "The commands", telemetry: "The commands", timestamp: "Time", anchor: "Time", state: "State and completeness", history: "State and completeness",
};

function checks(r) {
  const section = element("section", { class: "tree" }, element("h2", null, "All checks"));
  let title = "";
  for (const f of r.families) {
    const group = words[f.name.split(".")[0]] || "";
    if (group !== title) { section.append(element("h3", null, group)); title = group; }
    const own = r.checks.filter((c) => c.name === f.name || c.name.startsWith(f.name + "["));
    const part = own.some((c) => c.ok && c.partial);
    const state = f.ok ? f.empty === f.checks ? "empty" : part ? "partly" : "ok" : f.failed === f.unjudged ? "idle" : "no";
    const sign = { ok: "✓", partly: "~", idle: "–", no: "✗", empty: "·" }[state];
    const spoken = { ok: "holds", partly: "holds in part only", idle: "not judged", no: "does not hold", empty: "nothing to compare" }[state];
    const count = f.checks === 1 || state === "empty" || state === "partly" ? spoken : f.checks - f.failed - f.empty + " of " + (f.checks - f.empty) + " hold";
    const list = element("ul");
    const item = (c) => c.name.slice(f.name.length).replace(/^\[|\]$/g, "");
    for (const [text, group] of alike(own.filter((c) => !c.ok), (c) => c.detail)) list.append(element("li", { class: "no" }, many(text, group.map(item), "checks")));
    const good = own.filter((c) => c.ok);
    for (const c of good.slice(0, 500)) list.append(element("li", null, item(c) ? element("span", { class: "item" }, item(c) + " ") : "", c.detail));
    if (good.length > 500) list.append(element("li", null, "… and " + (good.length - 500) + " more that hold"));
    section.append(element("details", { class: state, open: state === "no" || state === "partly" }, element("summary", null, element("span", { class: "sign", "aria-hidden": "true" }, sign), element("span", { class: "title" }, meaning[f.name] || f.name), element("span", { class: "count" }, count), element("code", null, f.name)), list));
  }
  return section;
}

const size = (n) => n < 1024 ? n + " bytes" : n < 1048576 ? (n / 1024).toFixed(1) + " KiB" : (n / 1048576).toFixed(1) + " MiB";

function parts(list) {
  const folders = new Map();
  for (const p of list) {
    const cut = p.name.lastIndexOf("/");
    const folder = cut < 0 ? "" : p.name.slice(0, cut);
    if (!folders.has(folder)) folders.set(folder, []);
    folders.get(folder).push(p);
  }
  const section = element("section", null, element("h2", null, "Parts of the bundle (" + list.length + ")"));
  if (!list.length) section.append(element("p", null, "The parts cannot be told apart."));
  for (const [folder, members] of folders) {
    const bad = members.filter((p) => p.failed), good = members.filter((p) => !p.failed);
    const box = element("div", { class: "parts" });
    box.append(...bad.slice(0, 200).map((p) => element("div", { class: "part bad", title: p.failed.join("; ") }, "✗ " + p.name.slice(folder ? folder.length + 1 : 0))));
    if (bad.length > 200) box.append(element("div", { class: "part bad" }, "… and " + (bad.length - 200) + " more that are wrong"));
    for (const p of good.slice(0, 200)) box.append(element("div", { class: "part", title: p.type + ", " + size(p.bytes) }, p.name.slice(folder ? folder.length + 1 : 0)));
    if (good.length > 200) box.append(element("div", { class: "part" }, "… and " + (good.length - 200) + " more"));
    section.append(element("div", { class: "folder" }, element("h3", null, folder ? folder + "/" : "at the top"), box));
  }
  return section;
}

function save(report) {
  const button = element("button", { type: "button", class: "plain" }, "Save this report as JSON");
  button.addEventListener("click", () => {
    const link = element("a", { href: URL.createObjectURL(new Blob([JSON.stringify(report, null, 2)], { type: "application/json" })), download: "vaultmesh-report.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  return element("p", null, button);
}
