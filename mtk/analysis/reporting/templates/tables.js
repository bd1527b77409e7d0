"use strict";
// Tables sort by a click on a heading, and are filtered by words. Without this they are read as they are.
const few = 12;

function key(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
}

function compare(a, b) {
  const numbers = typeof a === "number" && typeof b === "number";
  if (numbers) return (Number.isNaN(a) - Number.isNaN(b)) || a - b || 0;
  return String(a).localeCompare(String(b), undefined, {numeric: true});
}

function sort(table, heading) {
  const falling = heading.ariaSort === "ascending";
  const column = heading.cellIndex;
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => compare(key(a, column), key(b, column)));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...(falling ? rows.reverse() : rows));
}

function sortable(table) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(table, heading));
    heading.append(button);
  }
}

function filtered(table) {
  const input = document.createElement("input");
  input.type = "search";
  input.className = "filter";
  input.placeholder = "Filter rows";
  input.setAttribute("aria-label", "Filter rows: " + table.caption.textContent.trim());
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  table.parentElement.before(input);
}

for (const table of document.querySelectorAll("table")) {
  sortable(table);
  if (table.tBodies[0].rows.length > few) filtered(table);
}
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  // Headings that are buttons would not stand on each page again.
  for (const button of document.querySelectorAll("th button")) {
    button.replaceWith(...button.childNodes);
  }
});
addEventListener("afterprint", () => document.querySelectorAll("table").forEach(sortable));
