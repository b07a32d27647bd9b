// Draws charts from their own tables (templates/ui/chart.html): what is drawn, read out and shown as a table is one set of numbers.
import { startReading } from "./chart-reading.js";
import { inDays, local, locale } from "./time.js";

const resolved = (element, property) => getComputedStyle(element).getPropertyValue(property).trim();

function rowsOf(figure) {
  return [...figure.querySelectorAll("tbody tr")].map((row) => {
    const cells = [...row.querySelectorAll("[data-value]")];
    const said = cells.map((cell) => `${cell.dataset.label} ${cell.textContent.trim()}`).join(", ");
    return {
      at: Number(row.dataset.unix),
      values: cells.map(({ dataset }) => (dataset.value === "" ? null : Number(dataset.value))),
      said: `${row.cells[0].textContent.trim()}: ${said}`,
    };
  });
}

// Colours and dashes are those of the legend, so that they follow the scheme and exist once.
function lines(figure) {
  return [...figure.querySelectorAll(".legend line")].map((sample) => ({
    stroke: () => resolved(sample, "stroke"),
    dash: (sample.getAttribute("stroke-dasharray") ?? "").split(" ").filter(Boolean).map(Number),
    width: 2,
    spanGaps: false,
    // A value between two gaps is no line: it needs a dot to be seen.
    points: { show: true, size: 5, width: 0, fill: () => resolved(sample, "stroke") },
    ...(figure.dataset.chart === "step" ? { paths: window.uPlot.paths.stepped({ align: 1 }) } : {}),
  }));
}

// 24 hours, in the zone that the table's moments stand in; midnight is written as its day.
function moments(timeZone) {
  const format = (options) => new Intl.DateTimeFormat(locale, { timeZone, ...options });
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const [minutes, seconds] = [format(clock), format({ ...clock, second: "2-digit" })];
  const day = format({ day: "numeric", month: "short" });
  return (_, splits, axis, space, step) =>
    splits.map((unix) => {
      const at = unix * 1000;
      const night = at % 60000 === 0 && minutes.format(at) === "00:00";
      return (step >= 86400 || night ? day : step < 60 ? seconds : minutes).format(at);
    });
}
const zoneOf = (figure) => (local() && !inDays(figure) ? Intl.DateTimeFormat().resolvedOptions().timeZone : "Etc/UTC");

// Small amounts have as many digits as big ones, and the axis the room for them.
const amounts = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 6 });
// A count has no halves between its whole numbers, and neither has its axis.
const wholes = Array.from({ length: 45 }, (_, n) => [1, 2, 5][n % 3] * 10 ** Math.floor(n / 3));
const room = (_, labels) => Math.max(56, 12 + 7 * Math.max(...(labels ?? []).map((label) => label.length)));

function draw(figure) {
  const plot = figure.querySelector("[data-plot]");
  const rows = rowsOf(figure);
  const font = `12px ${resolved(figure, "font-family")}`;
  const axis = {
    stroke: () => resolved(figure.querySelector("figcaption .note"), "color"),
    grid: { stroke: () => resolved(figure, "border-top-color"), width: 1 },
    ticks: { show: false },
    font,
  };
  plot.hidden = false;
  const first = rows[0].at;
  const last = rows.at(-1).at;
  const alone = first === last;
  const zone = zoneOf(figure);
  const across = { ...axis, size: 30 };
  if (figure.dataset.axis) Object.assign(across, { label: figure.dataset.axis, labelFont: font, labelSize: 18 });
  else Object.assign(across, { values: moments(zone), space: last - first < 900 ? 80 : 50 }, alone && { splits: () => [first] });
  const up = { ...axis, values: (_, splits) => splits.map(amounts.format), size: room, label: figure.dataset.unit, labelFont: font, labelSize: 18 };
  if (rows.every(({ values }) => values.every((value) => Number.isInteger(value ?? 0)))) up.incrs = wholes;
  const chart = new window.uPlot(
    {
      width: plot.clientWidth,
      height: plot.clientHeight,
      tzDate: (unix) => window.uPlot.tzDate(new Date(unix * 1000), zone),
      legend: { show: false },
      select: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
      scales: {
        x: { time: !figure.dataset.axis, range: alone ? [first - 1, last + 1] : [first, last] },
        y: { range: (_, low, high) => [0, (high || 1) * 1.1] },
      },
      series: [{}, ...lines(figure)],
      axes: [across, up],
    },
    [rows.map((row) => row.at), ...rows[0].values.map((_, n) => rows.map((row) => row.values[n]))],
    plot,
  );
  const move = startReading(plot, figure.querySelector("output"), rows, (index) =>
    chart.setCursor({ left: chart.valToPos(rows[index].at, "x"), top: 0 }),
  );
  plot.addEventListener("pointermove", () => chart.cursor.idx != null && move(chart.cursor.idx, false));
  new ResizeObserver(() => {
    if (plot.clientWidth && plot.clientWidth !== chart.width) chart.setSize({ width: plot.clientWidth, height: plot.clientHeight });
  }).observe(plot);
  return chart;
}

const NS = "http://www.w3.org/2000/svg";

// A bar of cells is drawn by the server; here it only learns to be read with the keyboard and the pointer.
function cells(figure) {
  const plot = figure.querySelector("[data-plot]");
  const svg = plot.querySelector("svg");
  const rows = rowsOf(figure);
  const step = svg.viewBox.baseVal.width / rows.length;
  const mark = document.createElementNS(NS, "rect");
  mark.setAttribute("class", "mark");
  mark.setAttribute("width", step);
  mark.setAttribute("height", svg.viewBox.baseVal.height);
  const move = startReading(plot, figure.querySelector("output"), rows, (index) => {
    mark.setAttribute("x", index * step);
    svg.append(mark);
  });
  plot.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    move(Math.floor(((event.clientX - box.left) / box.width) * rows.length), false);
  });
}

const charts = [];
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  if (!figure.querySelector("tbody tr")) continue;
  if (figure.dataset.chart === "cells") cells(figure);
  else if (window.uPlot) charts.push(draw(figure));
}

// A figure that a page has put into the place of a drawn one.
document.addEventListener("chart:new", ({ target }) => {
  for (const chart of charts.splice(0)) {
    if (chart.root.isConnected) charts.push(chart);
    else chart.destroy();
  }
  if (window.uPlot && target.querySelector("tbody tr")) charts.push(draw(target));
});

const redraw = () => requestAnimationFrame(() => charts.forEach((chart) => chart.redraw(false, true)));
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
