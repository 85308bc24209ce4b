// A click on a column's name sorts its table, a second one turns the order round. Cells without a value come last.
const read = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b));

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const headers = table.querySelectorAll("th[aria-sort]");
  for (const header of headers) {
    header.querySelector("button").addEventListener("click", () => {
      const order = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of headers) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", order);
      const column = header.cellIndex;
      const missing = (row) => read(row, column) === "–";
      const rows = [...body.rows].sort((a, b) =>
        missing(a) - missing(b) || compare(read(a, column), read(b, column)) * (order === "ascending" ? 1 : -1));
      body.append(...rows);
    });
  }
}
