// Plots of the page of a cohort, all from the one block of JSON in it. Nothing is computed here but
// where to draw. One participant can be chosen, by search, by a click or by the address
// (group.html#sub-01), and is then ringed in every plot.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("group-data").textContent);
  const { muscles, people, unit, measure } = data;
  const everyone = people.id.map((_, i) => i);
  const COLORS = { all: "#3f6f9f", F: "#b3541e", M: "#0b4fa8", line: "#1b1f24", line_all: "rgba(63, 111, 159, 0.3)", chosen: "#d0006f" };
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    // The data are people's: no button may send them anywhere.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
  };
  const FONT = { family: '"DejaVu Sans", Arial, sans-serif', size: 12, color: "#1b1f24" };
  const LONGEST_MATCHES = 12;

  // Plots that are drawn: { div, traces: numbers of the traces named "selected", at: place of a
  // participant in each of them }.
  const plots = [];
  let chosen = null;

  // --- words -------------------------------------------------------------------------------

  // plotly reads a little HTML in its texts; names must stay names.
  const escapeText = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const isNumber = (value) => typeof value === "number";
  const formatValue = (value) => (isNumber(value) ? value.toFixed(2).replace("-", "\u2212") : "n/a");
  const countWords = (count) => count.toLocaleString("en-US");
  const spread = (mean, error) => formatValue(mean) + (isNumber(error) ? ` \u00b1 ${formatValue(error)}` : "");

  // What hovering a participant says: name, what is plotted, and how to get to the page.
  function describe(i, what) {
    const how = people.page[i] ? "click: all values and the link to the page" : "click: all values";
    return `<b>${escapeText(people.id[i])}</b><br>${what}<br><i>${how}</i>`;
  }

  // --- which points, where -----------------------------------------------------------------

  // A number from 0 to 1 that looks like chance and is always the same for a participant. Two
  // rounds of multiplying and folding, so that the order and the jitter have nothing in common.
  function scramble(i, salt) {
    let bits = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(salt, 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 15), 0x2c1b3c6d);
    bits = Math.imul(bits ^ (bits >>> 12), 0x297a2d39);
    return ((bits ^ (bits >>> 15)) >>> 0) / 2 ** 32;
  }

  // Of a large cohort the first ones of this order are drawn.
  const drawingOrder = everyone.slice().sort((a, b) => scramble(a, 1) - scramble(b, 1));
  const jitter = (i) => scramble(i, 2) - 0.5;

  function choosePoints(has) {
    const shown = [];
    for (const i of drawingOrder) {
      if (has(i)) shown.push(i);
      if (shown.length === data.limit) break;
    }
    return shown;
  }

  // Ends of an axis over all participants, drawn or not, so that it stays when one is chosen.
  function findRange(lists, margin = 0.06) {
    let low = Infinity;
    let high = -Infinity;
    for (const list of lists) {
      for (const value of list) {
        if (!isNumber(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high) return [0, 1];
    const pad = (high - low) * margin || 1;
    return [low - pad, high + pad];
  }

  // --- traces ------------------------------------------------------------------------------

  function pointTrace(points, style) {
    return {
      type: "scatter",
      mode: "markers",
      x: points.map((point) => point.x),
      y: points.map((point) => point.y),
      text: points.map((point) => describe(point.i, point.what)),
      customdata: points.map((point) => point.i),
      hovertemplate: "%{text}<extra></extra>",
      showlegend: false,
      ...style,
    };
  }

  function selectedTrace(place, style = {}) {
    return {
      type: "scatter",
      mode: "markers",
      name: "selected",
      x: place.x,
      y: place.y,
      marker: { symbol: "circle-open", size: 13, color: COLORS.chosen, line: { width: 3 } },
      hoverinfo: "skip",
      showlegend: false,
      ...style,
    };
  }

  const NOWHERE = { x: [], y: [] };
  const placeChosen = (place) => (chosen === null ? NOWHERE : place(chosen));

  // --- drawing -----------------------------------------------------------------------------

  function baseLayout(height) {
    return {
      height,
      font: FONT,
      hovermode: "closest",
      hoverlabel: { bgcolor: "#ffffff", bordercolor: "#1b1f24", font: { color: "#1b1f24" }, align: "left" },
      paper_bgcolor: "#ffffff",
      plot_bgcolor: "#ffffff",
      margin: { l: 60, r: 15, t: 68, b: 45 },
      dragmode: "zoom",
    };
  }

  const TOP_LEGEND = { orientation: "h", x: 0, xanchor: "left", y: 1.07, yanchor: "bottom" };
  const axisStyle = { zeroline: false, showline: true, linecolor: "#5d6873", gridcolor: "#e6e9ed", ticks: "outside", tickcolor: "#5d6873" };

  function draw(id, traces, layout, places) {
    const div = document.getElementById(id);
    const config = { ...CONFIG, toImageButtonOptions: { format: "svg", filename: `group_${id}` } };
    Plotly.newPlot(div, traces, layout, config);
    const found = traces.map((trace, n) => (trace.name === "selected" ? n : -1)).filter((n) => n >= 0);
    plots.push({ div, traces: found, places });
    div.on("plotly_click", (event) => {
      const i = event.points[0].customdata;
      if (isNumber(i)) choose(i);
    });
    // With its plot drawn the picture is only wanted for print.
    document.querySelectorAll(`details.static[data-plot="${id}"]`).forEach((fold) => (fold.open = false));
  }

  function sayDrawn(id, fullest, where) {
    const held = countWords(people.id.length);
    document.getElementById(`${id}-note`).textContent = data.total
      ? `The page holds ${held} of ${countWords(data.total)} participants, and ${countWords(Math.min(fullest, data.limit))} of these are drawn ${where}; search finds those that it holds, and means, lines and tests are of all.`
      : fullest > data.limit
      ? `${countWords(data.limit)} of ${countWords(fullest)} participants drawn ${where}; search finds all, and means, lines and tests are of all.`
      : "";
  }

  // Nor is there anything to see in the picture, or to explain.
  function sayNothing(id, why) {
    document.getElementById(`${id}-note`).textContent = `Nothing to draw: ${why}.`;
    document.querySelectorAll(`details.static[data-plot="${id}"], #${id}-caption`).forEach((part) => (part.hidden = true));
  }

  const countValues = (list) => list.reduce((count, value) => count + isNumber(value), 0);

  // Strips of participants, a muscle a strip: Figure 5A.
  function drawMuscles() {
    const id = "figure5a";
    const counts = muscles.map((muscle) => countValues(data.values[muscle]));
    const fullest = Math.max(0, ...counts);
    if (!fullest) return sayNothing(id, "no participant has a value");
    const at = (m, i) => m + 0.5 * jitter(i);
    const points = muscles.flatMap((muscle, m) =>
      choosePoints((i) => isNumber(data.values[muscle][i])).map((i) => strip(muscle, at(m, i), i)));
    const means = muscles.map((muscle) => data.means[muscle] || {});
    const traces = [
      pointTrace(points, { name: "participants", marker: { size: 5, color: COLORS.all, opacity: 0.45 } }),
      {
        type: "scatter",
        mode: "markers",
        name: "mean",
        x: muscles.map((_, m) => m),
        y: means.map((row) => row.mean ?? null),
        error_y: { array: means.map((row) => row.se ?? 0), color: COLORS.line, thickness: 2, width: 8 },
        marker: { symbol: "line-ew-open", size: 22, color: COLORS.line, line: { width: 3 } },
        text: means.map((row, m) => `${escapeText(muscles[m])}: mean \u00b1 SE ${spread(row.mean, row.se)} ${unit}, n = ${row.n ?? "n/a"}`),
        hovertemplate: "%{text}<extra></extra>",
        showlegend: false,
      },
    ];
    const place = (i) => ({
      x: muscles.map((_, m) => at(m, i)),
      y: muscles.map((muscle) => data.values[muscle][i]),
    });
    traces.push(selectedTrace(placeChosen(place), { mode: "lines+markers", line: { color: COLORS.chosen, width: 1 } }));
    const layout = stripLayout(muscles.map((muscle) => escapeText(muscle)));
    draw(id, traces, layout, [place]);
    sayDrawn(id, fullest, "for each muscle");
  }

  const strip = (muscle, x, i) => ({
    i,
    x,
    y: data.values[muscle][i],
    what: `${escapeText(muscle)} ${formatValue(data.values[muscle][i])} ${unit}`,
  });

  function stripLayout(names) {
    return {
      ...baseLayout(490),
      xaxis: { ...axisStyle, tickvals: names.map((_, m) => m), ticktext: names, range: [-0.6, names.length - 0.4], showgrid: false, tickfont: { size: 13 } },
      yaxis: { ...axisStyle, title: { text: `${measure} (${unit})` }, range: findRange(muscles.map((muscle) => data.values[muscle])) },
    };
  }

  // As Figure 5A, the sexes beside each other: Figure 5B. The mean of all muscles has no points.
  function drawSexes() {
    const id = "figure5b";
    const hasSex = (i) => people.sex[i] === "F" || people.sex[i] === "M";
    const hasValue = (i) => muscles.some((muscle) => isNumber(data.values[muscle][i]));
    if (!everyone.some(hasSex)) return sayNothing(id, "no participant's sex is known");
    if (!everyone.some((i) => hasSex(i) && hasValue(i))) return sayNothing(id, "no participant of known sex has a value");
    const shift = { F: -0.19, M: 0.19 };
    const at = (m, i) => m + shift[people.sex[i]] + 0.26 * jitter(i);
    const names = isNumber(data.marginal.mean?.emm_f) ? [...muscles, "mean"] : muscles;
    const traces = [];
    let fullest = 0;
    for (const sex of ["F", "M"]) {
      const points = muscles.flatMap((muscle, m) => {
        const has = (i) => people.sex[i] === sex && isNumber(data.values[muscle][i]);
        fullest = Math.max(fullest, everyone.reduce((count, i) => count + has(i), 0));
        return choosePoints(has).map((i) => strip(muscle, at(m, i), i));
      });
      const symbol = sex === "F" ? "circle" : "triangle-up";
      const name = sex === "F" ? "female" : "male";
      traces.push(pointTrace(points, { name, showlegend: true, marker: { size: sex === "F" ? 5 : 6, symbol, color: COLORS[sex], opacity: 0.5 } }));
      traces.push(marginalTrace(names, sex, shift[sex]));
    }
    const place = (i) => (hasSex(i) ? {
      x: muscles.map((_, m) => at(m, i)),
      y: muscles.map((muscle) => data.values[muscle][i]),
    } : NOWHERE);
    traces.push(selectedTrace(placeChosen(place), { mode: "lines+markers", line: { color: COLORS.chosen, width: 1 } }));
    const layout = stripLayout(names.map((name) => (name === "mean" ? "mean of all" : escapeText(name))));
    layout.legend = TOP_LEGEND;
    layout.annotations = names.map((name, m) => ({
      x: m, y: 1, xref: "x", yref: "paper", yanchor: "bottom", showarrow: false,
      text: `<b>${data.marginal[name]?.stars || ""}</b>`, font: { size: 16 },
    }));
    draw(id, traces, layout, [place]);
    sayDrawn(id, fullest, "for each muscle and sex");
  }

  function marginalTrace(names, sex, shift) {
    const key = `emm_${sex.toLowerCase()}`;
    const rows = names.map((name) => data.marginal[name] || {});
    const words = sex === "F" ? "female" : "male";
    return {
      type: "scatter",
      mode: "markers",
      name: `estimated marginal mean, ${words}`,
      x: names.map((_, m) => m + shift),
      y: rows.map((row) => row[key] ?? null),
      error_y: { array: rows.map((row) => row[`${key}_se`] ?? 0), color: COLORS.line, thickness: 2, width: 6 },
      marker: { symbol: sex === "F" ? "circle" : "triangle-up", size: 10, color: "#ffffff", line: { color: COLORS.line, width: 2 } },
      text: rows.map((row, m) => `${escapeText(names[m])}, ${words}: EMM \u00b1 SE ${spread(row[key], row[`${key}_se`])} ${unit}<br>sex: p ${escapeText(row.p ?? "n/a")}`),
      hovertemplate: "%{text}<extra></extra>",
      showlegend: false,
    };
  }

  // Many small panels. A panel: { row, column, x, y (of all participants), names, title, line }.
  function drawPanels(id, panels, options) {
    const drawn = panels.filter((panel) => everyone.some((i) => hasBoth(panel, i)));
    if (!drawn.length) return sayNothing(id, options.nothing);
    const layout = { ...baseLayout(options.height), annotations: [] };
    const traces = [];
    const places = [];
    let fullest = 0;
    drawn.forEach((panel, n) => {
      const suffix = n ? String(n + 1) : "";
      const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
      Object.assign(layout, placeAxes(panel, suffix, options));
      fullest = Math.max(fullest, everyone.reduce((count, i) => count + hasBoth(panel, i), 0));
      const points = choosePoints((i) => hasBoth(panel, i)).map((i) => ({
        i,
        x: panel.x[i],
        y: panel.y[i],
        what: `${panel.names[0]} ${formatValue(panel.x[i])}<br>${panel.names[1]} ${formatValue(panel.y[i])}`,
      }));
      traces.push(pointTrace(points, { ...axes, name: "participants", marker: { size: 4, color: COLORS.all, opacity: 0.5 } }));
      if (panel.line) {
        traces.push({ type: "scatter", mode: "lines", name: "line", ...axes, ...panel.line, line: { color: COLORS.line, width: 1.5 }, hoverinfo: "skip", showlegend: false });
      }
      const place = (i) => (hasBoth(panel, i) ? { x: [panel.x[i]], y: [panel.y[i]] } : NOWHERE);
      places.push(place);
      traces.push(selectedTrace(placeChosen(place), axes));
      layout.annotations.push(titlePanel(panel.title, axes));
    });
    draw(id, traces, layout, places);
    sayDrawn(id, fullest, "in each panel");
  }

  const titlePanel = (text, axes) => ({
    text, xref: `${axes.xaxis} domain`, yref: `${axes.yaxis} domain`, x: 0, y: 1,
    xanchor: "left", yanchor: "bottom", showarrow: false, align: "left", font: { size: 12 },
  });

  const hasBoth = (panel, i) => isNumber(panel.x[i]) && isNumber(panel.y[i]);

  function placeAxes(panel, suffix, { rows, columns, gapX, gapY }) {
    const width = (1 - gapX * (columns - 1)) / columns;
    const height = (1 - gapY * (rows - 1)) / rows;
    const left = panel.column * (width + gapX);
    const top = 1 - panel.row * (height + gapY);
    const small = { ...axisStyle, tickfont: { size: 10 }, nticks: 5 };
    const title = (text) => ({ text, font: { size: 11 }, standoff: 4 });
    return {
      [`xaxis${suffix}`]: { ...small, domain: [left, left + width], anchor: `y${suffix}`, range: panel.rangeX, title: title(panel.titleX || "") },
      [`yaxis${suffix}`]: { ...small, domain: [Math.max(0, top - height), top], anchor: `x${suffix}`, range: panel.rangeY, title: title(panel.titleY || "") },
    };
  }

  function drawPairs() {
    const count = muscles.length - 1;
    const panels = [];
    muscles.forEach((b, row) => {
      muscles.slice(0, row).forEach((a, column) => {
        const found = data.correlations.find((one) =>
          (one.a === a && one.b === b) || (one.a === b && one.b === a));
        panels.push({
          row: row - 1, column, x: data.values[a], y: data.values[b],
          names: [escapeText(a), escapeText(b)], title: found ? found.text : "",
          titleX: row === count ? `${escapeText(a)} (${unit})` : "",
          titleY: column === 0 ? `${escapeText(b)} (${unit})` : "",
          rangeX: findRange([data.values[a]]), rangeY: findRange([data.values[b]]),
        });
      });
    });
    drawPanels("pairplot", panels, {
      rows: count, columns: count, gapX: 0.035, gapY: 0.045, height: 140 + 150 * count,
      nothing: "no participant has two muscles",
    });
  }

  function drawResiduals() {
    const found = ["age", "bmi"].filter((covariate) => data.residuals[covariate]);
    const panels = found.flatMap((covariate, row) => {
      const lists = data.residuals[covariate];
      const [word, per] = covariate === "bmi" ? ["BMI", "kg/m\u00b2"] : [covariate, "years"];
      const rangeY = findRange(Object.values(lists).map((list) => list.y));
      return muscles.map((muscle, column) => ({ muscle, column })).filter(({ muscle }) => lists[muscle])
        .map(({ muscle, column }) => {
          const { x, y } = lists[muscle];
          const result = data.partial.find((one) => one.muscle === muscle && one.x === covariate) || {};
          const ends = findRange([x], 0);
          return {
            row, column, x, y,
            names: [`${word} residual`, `${escapeText(muscle)} residual`],
            title: `<b>${escapeText(muscle)}</b><br>${result.text || ""}`,
            titleX: `${word} residual (${per})`, titleY: column === 0 ? `${measure} residual (${unit})` : "",
            rangeX: findRange([x]), rangeY,
            line: isNumber(result.resid_slope) ? { x: ends, y: ends.map((end) => end * result.resid_slope) } : null,
          };
        });
    });
    drawPanels("figure6", panels, {
      rows: Math.max(1, found.length), columns: muscles.length, gapX: 0.03, gapY: 0.22,
      height: 115 + 270 * Math.max(1, found.length), nothing: "there are no residuals",
    });
  }

  function drawSides() {
    const columns = Math.min(4, muscles.length);
    const panels = muscles.map((muscle, m) => {
      const x = data.left[muscle];
      const y = data.right[muscle];
      const range = findRange([x, y]);
      return {
        row: Math.floor(m / columns), column: m % columns, x, y,
        names: [`${escapeText(muscle)} left`, `${escapeText(muscle)} right`],
        title: `<b>${escapeText(muscle)}</b>`, titleX: `left (${unit})`, titleY: `right (${unit})`,
        rangeX: range, rangeY: range, line: { x: range, y: range },
      };
    });
    const rows = Math.ceil(muscles.length / columns);
    drawPanels("sides", panels, {
      rows, columns, gapX: 0.06, gapY: 0.17, height: 115 + 270 * rows, nothing: "no participant has both sides of a muscle",
    });
  }

  const MOST_CHANGES = 4; // in words above a panel; the table has all
  const LINE = 16; // pixels

  // Each participant's line from session to session, a panel a muscle, with the line of the means.
  function drawChange() {
    const id = "change";
    if (!document.getElementById(id)) return;
    const { sessions = [], values = {} } = data.change;
    const shown = muscles.filter((muscle) => values[muscle]);
    const lists = (muscle) => sessions.map((session) => values[muscle][session]);
    const hasTwo = (muscle, i) => lists(muscle).filter((list) => isNumber(list[i])).length > 1;
    const drawn = shown.filter((muscle) => everyone.some((i) => hasTwo(muscle, i)));
    if (!drawn.length) return sayNothing(id, "no participant has a value in two sessions");
    const columns = Math.min(sessions.length > 4 ? 2 : 6 - Math.max(2, sessions.length), drawn.length);
    const rows = Math.ceil(drawn.length / columns);
    // One change stands beside the muscle's name; several stand below it, a line each.
    const compared = sessions.length - 1;
    const lines = compared === 1 || compared > MOST_CHANGES ? 0 : compared;
    const gap = 60 + LINE * lines;
    const area = 210 * rows + gap * (rows - 1);
    const options = { rows, columns, gapX: 0.06, gapY: gap / area };
    const layout = { ...baseLayout(115 + area + LINE * lines), annotations: [] };
    layout.margin = { ...layout.margin, t: layout.margin.t + LINE * lines };
    const traces = [];
    const places = [];
    let fullest = 0;
    drawn.forEach((muscle, n) => {
      const suffix = n ? String(n + 1) : "";
      const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
      const column = n % columns;
      Object.assign(layout, placeAxes({
        row: Math.floor(n / columns), column, rangeX: [-0.25, sessions.length - 0.75],
        rangeY: findRange(lists(muscle)), titleY: column === 0 ? `${measure} (${unit})` : "",
      }, suffix, options));
      Object.assign(layout[`xaxis${suffix}`], { tickvals: sessions.map((_, k) => k), ticktext: sessions.map((session) => escapeText(shortenSession(session))), showgrid: false });
      const points = choosePoints((i) => hasTwo(muscle, i));
      fullest = Math.max(fullest, everyone.reduce((count, i) => count + hasTwo(muscle, i), 0));
      traces.push(changeTrace(muscle, points, axes), meanChangeTrace(muscle, axes));
      const place = (i) => ({ x: sessions.map((_, k) => k), y: lists(muscle).map((list) => list[i]) });
      places.push(place);
      traces.push(selectedTrace(placeChosen(place), { ...axes, mode: "lines+markers", connectgaps: true, line: { color: COLORS.chosen, width: 2 } }));
      const means = data.change.means[muscle] || [];
      layout.annotations.push(titlePanel(titleChange(muscle, means, lines), axes));
    });
    draw(id, traces, layout, places);
    sayDrawn(id, fullest, "in each panel");
  }

  function titleChange(muscle, means, lines) {
    const name = `<b>${escapeText(muscle)}</b>`;
    if (sessions().length > MOST_CHANGES + 1) return name;
    if (!lines) return [name, ...means.map((row) => row.text)].join("  ");
    return [name, ...means.map((row) => `${escapeText(shortenSession(row.session))}: ${row.text}`)].join("<br>");
  }

  const sessions = () => data.change.sessions || [];

  // Long names of sessions would lie over each other; short ones must still differ.
  function shortenSession(session) {
    const labels = sessions().map((name) => name.replace(/^ses-/, ""));
    let short = labels.map(shortenMiddle);
    if (new Set(short).size < labels.length) {
      const first = labels[0];
      let same = 0;
      while (same < first.length && labels.every((label) => label[same] === first[same])) same += 1;
      short = labels.map((label) => shortenMiddle(`\u2026${label.slice(same)}`));
    }
    return short[sessions().indexOf(session)];
  }

  function shortenMiddle(label) {
    const most = sessions().length > 2 ? 10 : 16;
    return label.length > most ? `${label.slice(0, most / 2)}\u2026${label.slice(1 - most / 2)}` : label;
  }

  // One trace for all: a gap parts the participants.
  function changeTrace(muscle, points, axes) {
    const { sessions, values } = data.change;
    const trace = { x: [], y: [], text: [], customdata: [] };
    for (const i of points) {
      const text = describe(i, sayChange(muscle, i));
      sessions.forEach((session, k) => {
        if (!isNumber(values[muscle][session][i])) return; // the line goes on to the next session
        trace.x.push(k);
        trace.y.push(values[muscle][session][i]);
        trace.text.push(text);
        trace.customdata.push(i);
      });
      trace.x.push(null);
      trace.y.push(null);
      trace.text.push("");
      trace.customdata.push(null);
    }
    return {
      type: "scatter", mode: "lines+markers", name: "participants", ...axes, ...trace,
      line: { width: 1, color: COLORS.line_all }, marker: { size: 4, color: COLORS.all, opacity: 0.5 },
      hovertemplate: "%{text}<extra></extra>", showlegend: false,
    };
  }

  function sayChange(muscle, i) {
    const { sessions, values, beyond } = data.change;
    return sessions.map((session) => {
      const large = beyond[muscle][session]?.[i] ? ", more than the smallest detectable change" : "";
      return `${escapeText(muscle)} ${escapeText(session)} ${formatValue(values[muscle][session][i])} ${unit}${large}`;
    }).join("<br>");
  }

  function meanChangeTrace(muscle, axes) {
    const means = data.change.means[muscle] || [];
    const { sessions, from } = data.change;
    return {
      type: "scatter", mode: "lines+markers", name: "mean", ...axes,
      x: means.flatMap((row) => [sessions.indexOf(from), sessions.indexOf(row.session), null]),
      y: means.flatMap((row) => [...row.ends, null]),
      line: { width: 3, color: COLORS.line }, marker: { size: 7, color: COLORS.line },
      hoverinfo: "skip", showlegend: false,
    };
  }

  // Strips of participants by their normal deviate among the controls, with centiles on the axis.
  const CENTILES = [[0.1, -3.0902], [1, -2.3263], [5, -1.6449], [25, -0.6745], [50, 0], [75, 0.6745], [95, 1.6449], [99, 2.3263], [99.9, 3.0902]];

  function drawCentiles() {
    const id = "centiles";
    if (!document.getElementById(id)) return;
    const { control = [], muscles: found = {} } = data.centiles;
    const shown = muscles.filter((muscle) => found[muscle] && countValues(found[muscle].z));
    if (!shown.length) return sayNothing(id, "no participant has a centile");
    const at = (m, i) => m + (control[i] ? -0.15 : 0.2) + 0.28 * jitter(i);
    const point = (m, i) => {
      const { z, centile, outside } = found[shown[m]];
      const far = outside[i] ? "<br>sex, age or BMI outside those of the controls" : "";
      return { i, x: at(m, i), y: z[i], what: `${escapeText(shown[m])}: centile ${sayCentile(centile[i])}, z ${formatValue(z[i])}${far}` };
    };
    const groups = [
      [1, "controls", { symbol: "circle", size: 5, color: COLORS.all, opacity: 0.5 }],
      [0, "others", { symbol: "diamond", size: 7, color: COLORS.F, opacity: 0.7 }],
    ];
    let fullest = 0;
    const traces = groups.map(([group, name, marker]) => {
      const points = shown.flatMap((muscle, m) => {
        const has = (i) => control[i] === group && isNumber(found[muscle].z[i]);
        fullest = Math.max(fullest, everyone.reduce((count, i) => count + has(i), 0));
        return choosePoints(has).map((i) => point(m, i));
      });
      return pointTrace(points, { name, marker, showlegend: points.length > 0 });
    });
    const place = (i) => ({ x: shown.map((_, m) => at(m, i)), y: shown.map((muscle) => found[muscle].z[i]) });
    traces.push(selectedTrace(placeChosen(place), { mode: "lines+markers", line: { color: COLORS.chosen, width: 1 } }));
    const layout = stripLayout(shown.map(escapeText));
    layout.yaxis = {
      ...axisStyle, title: { text: "centile among the controls" }, tickvals: CENTILES.map(([, z]) => z),
      ticktext: CENTILES.map(([centile]) => String(centile)), range: findRange([...shown.map((muscle) => found[muscle].z), [-2.4, 2.4]]),
    };
    layout.shapes = [-1.6449, 1.6449].map((z) => ({
      type: "line", xref: "paper", x0: 0, x1: 1, y0: z, y1: z, layer: "below", line: { color: COLORS.line, width: 1, dash: "dash" },
    }));
    layout.legend = TOP_LEGEND;
    draw(id, traces, layout, [place]);
    sayDrawn(id, fullest, "for each muscle, of the controls and of the others");
  }

  const sayCentile = (value) => (isNumber(value) ? value.toFixed(1) : "n/a");

  // --- the chosen participant --------------------------------------------------------------

  function choose(i) {
    chosen = i;
    showPanel();
    const address = i === null ? location.pathname + location.search : `#${encodeURIComponent(people.id[i])}`;
    history.replaceState(null, "", address);
    // One plot a task: the panel is seen first, and then one ring after the other.
    plots.forEach((plot) => setTimeout(() => ringChosen(plot)));
  }

  function ringChosen(plot) {
    const places = plot.places.map(placeChosen);
    const update = { x: places.map((place) => place.x), y: places.map((place) => place.y) };
    Plotly.restyle(plot.div, update, plot.traces);
  }

  function add(parent, tag, text, attributes = {}) {
    const element = parent.appendChild(document.createElement(tag));
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  const sharedWord = (shared, i) => shared.words[shared.of[i]];

  function showPanel() {
    const panel = document.getElementById("panel");
    panel.replaceChildren();
    panel.hidden = chosen === null;
    document.getElementById("clear").disabled = chosen === null;
    say(chosen === null ? "Or click a point of a plot." : "Ringed in every plot that has the values.");
    if (chosen === null) return;
    const i = chosen;
    const who = add(panel, "p", undefined, { class: "who" });
    add(who, "b", people.id[i]);
    const sex = { F: "female", M: "male" }[people.sex[i]] || "sex n/a";
    add(who, "span", `${sex}, age ${people.age[i] ?? "n/a"}, BMI ${people.bmi[i] ?? "n/a"}`);
    for (const name of ["session", "bundle"]) {
      const word = sharedWord(people[name], i);
      if (word) add(who, "span", name === "bundle" ? `weights ${word}` : word);
    }
    if (people.page[i]) add(who, "a", `Open the page of ${people.id[i]}`, { href: people.page[i] });
    const flags = sharedWord(people.flags, i);
    if (flags) add(panel, "p", `Flags: ${flags}`, { class: "doubts" });
    addValues(panel, i);
  }

  function addValues(panel, i) {
    const wide = add(panel, "div", undefined, { class: "wide" });
    const table = add(wide, "table");
    const head = add(table, "tr");
    add(head, "th", `${measure}, ${unit}`, { scope: "col" });
    muscles.forEach((muscle) => add(head, "th", muscle, { scope: "col" }));
    const addRow = (word, read) => {
      const row = add(table, "tr");
      add(row, "th", word, { scope: "row" });
      muscles.forEach((muscle) => add(row, "td", read(muscle)));
    };
    for (const [word, lists] of [["left-right mean", data.values], ["left", data.left], ["right", data.right]]) {
      addRow(word, (muscle) => formatValue(lists[muscle][i]));
    }
    const { sessions = [], from, values = {} } = data.change;
    sessions.filter((session) => session !== from).forEach((session) => addRow(`in ${session}`, (muscle) => formatValue(values[muscle]?.[session][i])));
    const found = data.centiles.muscles;
    if (found) addRow("centile", (muscle) => sayCentile(found[muscle]?.centile[i]));
  }

  const say = (text) => (document.getElementById("state").textContent = text);

  // --- search ------------------------------------------------------------------------------

  const input = document.getElementById("search");
  const list = document.getElementById("matches");
  const lowered = people.id.map((id) => id.toLowerCase());
  let matches = [];
  let active = -1;

  function showMatches() {
    const wanted = input.value.trim().toLowerCase();
    matches = wanted ? everyone.filter((i) => lowered[i].includes(wanted)) : [];
    // The very name first: sub-1 before sub-10.
    matches.sort((a, b) => (lowered[b] === wanted) - (lowered[a] === wanted));
    list.replaceChildren();
    matches.slice(0, LONGEST_MATCHES).forEach((i, n) => {
      const item = add(list, "li", people.id[i], { role: "option", id: `match-${n}` });
      // mousedown comes before the input loses the focus and the list is closed
      item.addEventListener("mousedown", (event) => {
        event.preventDefault();
        pick(i);
      });
    });
    setActive(matches.length ? 0 : -1);
    openList(matches.length > 0);
    if (wanted) say(matches.length ? `${countWords(matches.length)} of ${countWords(people.id.length)} names match.` : data.total ? "No name matches among those that the page holds." : "No name matches.");
  }

  function openList(open) {
    list.hidden = !open;
    input.setAttribute("aria-expanded", String(open));
    if (!open) input.removeAttribute("aria-activedescendant");
  }

  function setActive(n) {
    active = n;
    [...list.children].forEach((item, k) => item.setAttribute("aria-selected", String(k === n)));
    if (n >= 0) {
      input.setAttribute("aria-activedescendant", `match-${n}`);
      list.children[n].scrollIntoView({ block: "nearest" });
    }
  }

  function pick(i) {
    input.value = people.id[i];
    openList(false);
    choose(i);
  }

  function clearChoice() {
    input.value = "";
    openList(false);
    choose(null);
  }

  function handleKey(event) {
    const last = list.children.length - 1;
    if (event.key === "ArrowDown" && last >= 0) {
      openList(true);
      setActive(Math.min(last, active + 1));
    } else if (event.key === "ArrowUp" && last >= 0) {
      setActive(Math.max(0, active - 1));
    } else if (event.key === "Enter" && !list.hidden && active >= 0) {
      pick(matches[active]);
    } else if (event.key === "Escape") {
      if (list.hidden) clearChoice();
      openList(false);
    } else {
      return;
    }
    event.preventDefault();
  }

  function startSearch() {
    input.addEventListener("focus", () => input.select());
    input.addEventListener("input", showMatches);
    input.addEventListener("keydown", handleKey);
    input.addEventListener("blur", () => openList(false));
    document.getElementById("clear").addEventListener("click", clearChoice);
    document.getElementById("finder").hidden = people.id.length === 0;
  }

  // --- paper -------------------------------------------------------------------------------

  const SHEET = 680; // pixels that A4 and Letter have between their margins

  function fitToPaper(onPaper) {
    for (const { div } of plots) {
      if (!div.classList.contains("doubled")) Plotly.relayout(div, onPaper ? { autosize: false, width: SHEET } : { autosize: true, width: null });
    }
  }

  // --- address and copying -----------------------------------------------------------------

  // The participant that the address names; other ends of an address are headings of the page.
  function readAddress() {
    let name = location.hash.slice(1);
    try {
      name = decodeURIComponent(name);
    } catch {
      return null;
    }
    const i = people.id.indexOf(name);
    return i >= 0 ? i : null;
  }

  function followAddress() {
    const i = readAddress();
    if (i !== null && i !== chosen) pick(i);
  }

  function startCopying() {
    const button = document.getElementById("copy");
    if (!button) return;
    const text = document.getElementById("methods-text");
    const tell = (words) => (document.getElementById("copied").textContent = words);
    const mark = () => {
      getSelection().selectAllChildren(text);
      tell("The text is selected: copy it with the keyboard.");
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      if (!navigator.clipboard) return mark();
      navigator.clipboard.writeText(text.textContent.trim()).then(() => tell("Copied."), mark);
    });
  }

  // A picture is in the page once; its links take it from where it is shown.
  function linkPictures() {
    document.querySelectorAll("a[data-picture]").forEach((link) => {
      link.href = document.getElementById(link.dataset.picture).src;
    });
  }

  // --- start -------------------------------------------------------------------------------

  startSearch();
  startCopying();
  linkPictures();
  chosen = readAddress();
  if (chosen !== null) input.value = people.id[chosen];
  showPanel();
  addEventListener("hashchange", followAddress);
  addEventListener("beforeprint", () => fitToPaper(true));
  addEventListener("afterprint", () => fitToPaper(false));

  // One plot a task, so that the page answers in between and one that fails stops no other.
  const steps = [drawPairs, drawMuscles, drawSexes, drawResiduals, drawSides, drawChange, drawCentiles];
  let left = steps.length;
  steps.forEach((step) => setTimeout(() => {
    try {
      step();
    } finally {
      left -= 1;
      if (!left) document.documentElement.dataset.plots = "drawn";
    }
  }));
})();
