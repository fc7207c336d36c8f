"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("script");

  // sliders: the opacity of what lies over all images, and the wipe over each
  const gallery = document.querySelector(".gallery");
  const opacity = document.getElementById("opacity");
  if (opacity) {
    const show = () => gallery.style.setProperty("--opacity", opacity.value / 100);
    opacity.addEventListener("input", show);
    show();
  }
  const wipes = [...document.querySelectorAll(".wipe")];
  const wipe = (slider) => {
    const stage = slider.previousElementSibling;
    stage.style.setProperty("--wipe", `${slider.value}%`);
    stage.classList.toggle("wiped", slider.value > 0 && slider.value < 100);
  };
  for (const slider of wipes) {
    slider.addEventListener("input", () => wipe(slider));
    wipe(slider);
  }
  for (const radio of document.querySelectorAll("input[name=layer]")) {
    radio.addEventListener("change", () => {
      // side by side means something only where both can be seen
      const [from, to] = radio.value === "both" ? ["100", "50"] : ["50", "100"];
      for (const slider of wipes) {
        if (slider.value === from) {
          slider.value = to;
          wipe(slider);
        }
      }
    });
  }

  // tables: by the figure in a cell, or by its text; what is empty comes last
  const key = (row, column) => {
    const cell = row.cells[column];
    const figure = cell.querySelector("data");
    const text = figure ? figure.value : cell.textContent.trim();
    const number = text === "" ? NaN : Number(text.replace(/,/g, ""));
    return Number.isNaN(number) ? text : number;
  };
  const isEmpty = (value) => value === "" || value === "–";
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  for (const button of document.querySelectorAll("table.sortable .sort")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const table = head.closest("table");
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [key(row, head.cellIndex), row]);
      rows.sort(([a], [b]) => {
        if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
        return rising ? compare(a, b) : compare(b, a);
      });
      body.append(...rows.map(([, row]) => row));
    });
  }

  // paper has no clicks
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details.definition, details.definitions")) each.open = true;
  });
})();
