/** Draws what a page's own table says: one chart a place, numbers from a JSON block beside it. */
const SERIES = [
  ["records_out", "Records out", "#1D5FBF", "#82B1FF", []],
  ["records_in", "Records in", "#1A7045", "#62CB93", [6, 4]],
  ["refused", "Refused", "#B3461E", "#FF9E6B", [2, 3]],
];

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function draw(place) {
  const data = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  const style = getComputedStyle(document.body);
  const muted = style.getPropertyValue("color");
  const axis = { stroke: muted, grid: { stroke: isDark() ? "#2D343F" : "#D9DDE3", width: 1 }, ticks: { show: false } };
  const options = {
    width: place.clientWidth,
    height: 220,
    scales: { y: { range: (_, low, high) => [0, Math.max(1, high) * 1.05] } },
    axes: [axis, { ...axis, size: 64 }],
    series: [{}, ...SERIES.map(([, label, light, dark, dash]) => ({
      label, dash, width: 2, stroke: isDark() ? dark : light, points: { show: data.periods.length < 40 },
    }))],
  };
  const times = data.periods.map((period) => Date.parse(period) / 1000);
  place.replaceChildren();
  new uPlot(options, [times, ...SERIES.map(([name]) => data[name])], place);
}

const places = [...document.querySelectorAll("[data-chart]")];
places.forEach(draw);
let waiting = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => places.forEach(draw));
});
