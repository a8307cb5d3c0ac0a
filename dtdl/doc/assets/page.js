"use strict";
// The index is narrowed to what has all words of the search; contents with them are listed above it.
const find = document.getElementById("find"), hits = document.getElementById("hits"), none = document.getElementById("none");
const items = [...document.querySelectorAll("#index li")];
const rows = [...document.querySelectorAll("main tr[id*='/']:not([id^='unit/'])")].map((row) => {
  const cut = row.id.lastIndexOf("/");
  return { id: row.id, name: row.id.slice(cut + 1), of: row.closest("article").querySelector("h2 a").textContent };
});
const most = 40;

function narrow() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (text) => words.every((word) => text.includes(word));
  let shown = 0;
  for (const item of items) {
    item.hidden = !has(item.dataset.search);
    shown += !item.hidden;
  }
  for (const section of document.querySelectorAll("#index section")) section.hidden = !section.querySelector("li:not([hidden])");
  hits.replaceChildren();
  if (words.length) {
    for (const row of rows.filter((row) => has((row.name + " " + row.of).toLowerCase()) && row.name.toLowerCase().includes(words[0])).slice(0, most)) {
      const item = document.createElement("li"), link = document.createElement("a"), of = document.createElement("span");
      link.href = "#" + row.id;
      link.textContent = row.name + " ";
      of.textContent = row.of;
      link.append(of);
      item.append(link);
      hits.append(item);
    }
  }
  hits.hidden = !hits.childElementCount;
  none.hidden = shown + hits.childElementCount > 0;
}
find.addEventListener("input", narrow);
find.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { find.value = ""; narrow(); find.blur(); }
  if (event.key === "Enter") { const first = document.querySelector("#hits a, #index li:not([hidden]) a"); if (first) first.click(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== find) { event.preventDefault(); find.focus(); }
});

// What is read is marked in the index.
const links = new Map(items.map((item) => { const link = item.querySelector("a"); return [decodeURIComponent(link.hash.slice(1)), link]; }));
const seen = new Set();
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.isIntersecting ? seen.add(entry.target) : seen.delete(entry.target);
  const first = [...seen].sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)[0];
  for (const link of links.values()) link.classList.remove("here");
  const link = first && links.get(first.id);
  if (link) { link.classList.add("here"); if (document.activeElement !== find) link.scrollIntoView({ block: "nearest" }); }
}, { rootMargin: "0px 0px -70% 0px" });
for (const article of document.querySelectorAll("article")) watch.observe(article);
