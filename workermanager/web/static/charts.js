// The charts of the live page and of the report: one window of a run is one point of each.
//
// A point is {at, seconds, warmup, due, ok, failed, dropped, expired, interrupted, rate, response,
// lag, service, steps}; response, lag and service are [p50, p95, p99] in ms or null, steps maps
// names to p95 in ms or null.

"use strict";

const Charts = (() => {
  const GREEN = "#22a06b";
  const RED = "#e5484d";
  const AMBER = "#e8a13a";
  const VIOLET = "#8f6ae0";
  const GREY = "#8792a2";
  const BLUES = ["#9dc0f5", "#5b93ee", "#2f67d3"];
  const TEAL = "#1a9e96";
  const OF_STEPS = [
    "#3b7fe6", "#e8863a", "#22a06b", "#b65fd0", "#d9a514",
    "#1a9eb5", "#e0567f", "#7a8a2a", "#8a6a52", "#6b7280",
  ];
  const MOST_STEPS = OF_STEPS.length;
  const FEW_POINTS = 40; // up to so many are marked by a dot as well
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  const HOUR_S = 3_600;
  const DAY_S = 24 * HOUR_S;
  const P50 = 0;
  const P95 = 1;
  const P99 = 2;

  // Plotly reads a little HTML in texts; a name is to be read as it is.
  const plain = (text) =>
    text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  // Elapsed time as Plotly's dates, from their beginning, because it labels those well. As text:
  // it takes small numbers for years.
  const moment = (seconds) => new Date(seconds * 1000).toISOString().slice(0, -1);

  const perSecond = (name) => (point) => (point.seconds > 0 ? point[name] / point.seconds : null);
  const percentile = (figure, index) => (point) => (point[figure] ? point[figure][index] : null);

  const line = (name, color, of, more = {}) => ({ name, color, of, ...more });
  const area = (name, color, of) => line(name, color, of, { isArea: true });

  const throughput = (points) => [
    area("ok", GREEN, perSecond("ok")),
    ...[
      ["failed", RED],
      ["dropped", AMBER],
      ["expired", VIOLET],
      ["interrupted", GREY],
    ]
      .filter(([name]) => points.some((point) => point[name] > 0))
      .map(([name, color]) => ({ ...area(name, color, perSecond(name)), isTrouble: true })),
    line("planned", "var", perSecond("due"), { dash: "dot", isPlan: true }),
  ];

  const response = () => [
    line("p99", BLUES[P99], percentile("response", P99)),
    line("p95", BLUES[P95], percentile("response", P95)),
    line("p50", BLUES[P50], percentile("response", P50)),
  ];

  const waits = () => [
    line("lag p99", AMBER, percentile("lag", P99)),
    line("lag p50", AMBER, percentile("lag", P50), { dash: "dot" }),
    line("service p99", TEAL, percentile("service", P99)),
    line("service p50", TEAL, percentile("service", P50), { dash: "dot" }),
  ];

  const slowestOf = (points) => {
    const slowest = new Map();
    for (const point of points) {
      for (const [name, p95] of Object.entries(point.steps)) {
        slowest.set(name, Math.max(slowest.get(name) ?? 0, p95 ?? 0));
      }
    }
    return slowest;
  };

  const steps = (points) => {
    const slowest = slowestOf(points);
    const names = [...slowest.keys()];
    const shown = new Set(
      names.toSorted((a, b) => slowest.get(b) - slowest.get(a)).slice(0, MOST_STEPS),
    );
    return names
      .filter((name) => shown.has(name))
      .map((name, index) =>
        line(name, OF_STEPS[index], (point) => point.steps[name] ?? null),
      );
  };

  const KINDS = {
    throughput: { lines: throughput, unit: "/s" },
    response: { lines: response, unit: " ms" },
    waits: { lines: waits, unit: " ms" },
    steps: { lines: steps, unit: " ms", count: (points) => slowestOf(points).size },
  };

  const isLonely = (values) =>
    values.some(
      (value, index) =>
        value !== null && (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null,
    );

  // What is drawn as steps begins where its first window did.
  const traceOf = (one, points, x, unit) => {
    const isStepped = one.isArea || one.isPlan;
    const y = points.map(one.of);
    const isDotted = points.length <= FEW_POINTS || isLonely(y);
    const color = one.isPlan ? GREY : one.color;
    const trace = {
      type: "scatter",
      mode: isDotted && !isStepped ? "lines+markers" : "lines",
      name: plain(one.name),
      x: isStepped ? [moment(points[0].at - points[0].seconds), ...x] : x,
      y: isStepped ? [y[0], ...y] : y,
      line: { color, width: 1.75, dash: one.dash ?? "solid" },
      marker: { color, size: 3.5 },
      hovertemplate: `%{y:,.3~r}${unit}`,
    };
    if (one.isArea) {
      trace.stackgroup = "outcomes";
      trace.fillcolor = color + "66";
      trace.line = { color, width: 1, shape: "vh" };
    }
    if (one.isTrouble) {
      // Rare ones are thinner than a pixel, and a line along all the rest would look like many.
      trace.mode = "lines+markers";
      trace.fillcolor = color + "cc";
      trace.line = { color, width: 0, shape: "vh" };
      trace.marker = { color, size: [0, ...y.map((value) => (value ? 5 : 0))], opacity: 1, line: { width: 0 } };
    }
    if (one.isPlan) {
      trace.line.shape = "vh";
    }
    return trace;
  };

  // 1, 2, 5, 10, 20, 50 … as long as there are not too many of them.
  const logTicks = (low, high) => {
    const ticks = [];
    const decades = Math.log10(high / low);
    const digits = decades > 2.5 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const digit of digits) {
        ticks.push(Number((digit * 10 ** power).toPrecision(1)));
      }
    }
    return ticks.filter((tick) => tick >= low * 0.99 && tick <= high * 1.01);
  };

  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

  const yAxis = (traces, unit, isLog) => {
    const axis = {
      ticksuffix: unit,
      fixedrange: true,
      automargin: false,
      zeroline: false,
      showline: false,
      nticks: 6,
      tickfont: { size: 11.5 },
      ticklabelstandoff: 4,
      exponentformat: "none",
      separatethousands: true,
    };
    const values = traces.flatMap((trace) => trace.y).filter((value) => value > 0);
    if (isLog && values.length) {
      const low = values.reduce((a, b) => Math.min(a, b)) / 1.3;
      const high = values.reduce((a, b) => Math.max(a, b)) * 1.3;
      const ticks = logTicks(low, high);
      return {
        ...axis,
        type: "log",
        range: [Math.log10(low), Math.log10(high)],
        tickvals: ticks,
        ticktext: ticks.map((tick) => number.format(tick) + unit),
      };
    }
    return { ...axis, type: "linear", rangemode: "tozero" };
  };

  const xAxis = (points, zoom) => {
    const end = Math.max(1, points.at(-1).at);
    const clock = end < HOUR_S ? "%-M:%S" : "%-H:%M:%S";
    return {
      type: "date",
      range: zoom ?? [moment(0), moment(end)],
      nticks: 8,
      showgrid: false,
      showline: false,
      zeroline: false,
      tickfont: { size: 11.5 },
      ticks: "",
      ticklabelstandoff: 5,
      hoverformat: end < DAY_S ? clock : `day %-j, ${clock}`,
      tickformatstops: [
        { dtickrange: [null, 999], value: "%-M:%S.%1f" },
        { dtickrange: [1000, DAY_S * 1000 - 1], value: clock },
        { dtickrange: [DAY_S * 1000, null], value: "day %-j" },
      ],
    };
  };

  const warmups = (points) => {
    const shapes = [];
    let from = 0;
    points.forEach((point, index) => {
      const isLast = point.warmup && !points[index + 1]?.warmup;
      if (isLast) {
        shapes.push({
          type: "rect",
          layer: "below",
          xref: "x",
          yref: "paper",
          x0: moment(from),
          x1: moment(point.at),
          y0: 0,
          y1: 1,
          line: { width: 0 },
          fillcolor: GREY,
          opacity: 0.14,
        });
      }
      from = point.warmup && !isLast ? from : point.at;
    });
    return shapes;
  };

  const label = (shapes) =>
    shapes.map((shape) => ({
      text: "warm-up",
      xref: "x",
      yref: "paper",
      x: shape.x0,
      y: 1,
      xanchor: "left",
      yanchor: "top",
      showarrow: false,
      font: { size: 11 },
    }));

  const CONFIG = {
    displayModeBar: false,
    displaylogo: false,
    showTips: false,
    doubleClick: false,
    plotlyServerURL: "",
  };

  const swatch = (one) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("width", "16");
    svg.setAttribute("height", "10");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", one.isArea ? "M1 1h14v8h-14z" : "M0 5h16");
    path.setAttribute("stroke", one.isPlan ? GREY : one.color);
    path.setAttribute("stroke-width", one.isArea ? "1" : "2.5");
    path.setAttribute("fill", one.isArea ? one.color + "66" : "none");
    if (one.dash) {
      path.setAttribute("stroke-dasharray", "2.5 2.5");
    }
    svg.append(path);
    return svg;
  };

  class Chart {
    constructor(card, onZoom) {
      this.kind = KINDS[card.dataset.chart];
      this.plot = card.querySelector(".plot");
      this.keys = card.querySelector(".keys");
      this.hidden = new Set();
      this.shown = "";
      this.isLog = false;
      this.onZoom = onZoom;
      this.isListening = false;
      const log = card.querySelector(".switch");
      log?.addEventListener("click", () => {
        this.isLog = !this.isLog;
        log.setAttribute("aria-pressed", String(this.isLog));
        this.onZoom(undefined);
      });
    }

    draw(points, zoom) {
      const lines = this.kind.lines(points);
      this.writeKeys(lines, this.kind.count?.(points) - lines.length);
      const x = points.map((point) => moment(point.at));
      const traces = lines
        .filter((one) => !this.hidden.has(one.name))
        .map((one) => traceOf(one, points, x, this.kind.unit));
      const shapes = warmups(points);
      const width = this.plot.clientWidth;
      const height = this.plot.clientHeight;
      const layout = {
        width,
        height,
        autosize: false,
        margin: { l: 66, r: 10, t: 10, b: 26 },
        showlegend: false,
        hovermode: "x unified",
        dragmode: "zoom",
        hoverdistance: 60,
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { size: 12, family: FONT },
        hoverlabel: { font: { size: 12 }, namelength: 40 },
        xaxis: xAxis(points, zoom),
        yaxis: yAxis(traces, this.kind.unit, this.isLog),
        shapes,
        annotations: label(shapes),
      };
      this.plot.classList.remove("waiting");
      Plotly.react(this.plot, traces, layout, CONFIG);
      for (const svg of this.plot.querySelectorAll(".main-svg")) {
        svg.setAttribute("viewBox", `0 0 ${width} ${height}`); // so that paper can scale it
      }
      if (!this.isListening) {
        this.listen();
      }
    }

    listen() {
      this.isListening = true;
      this.plot.on("plotly_relayout", (change) => {
        if ("xaxis.range[0]" in change) {
          this.onZoom([change["xaxis.range[0]"], change["xaxis.range[1]"]]);
        }
      });
      this.plot.on("plotly_doubleclick", () => this.onZoom(null));
    }

    writeKeys(lines, faster) {
      const names = JSON.stringify([lines.map((one) => one.name), faster]);
      if (names === this.shown) {
        return;
      }
      this.shown = names;
      this.keys.replaceChildren(
        ...lines.map((one) => {
          const key = document.createElement("button");
          const name = document.createElement("span");
          name.textContent = one.name;
          key.type = "button";
          key.className = "key";
          key.title = one.name;
          key.setAttribute("aria-pressed", String(!this.hidden.has(one.name)));
          key.append(swatch(one), name);
          key.addEventListener("click", () => {
            const isShown = this.hidden.delete(one.name);
            if (!isShown) {
              this.hidden.add(one.name);
            }
            key.setAttribute("aria-pressed", String(isShown));
            this.onZoom(undefined);
          });
          return key;
        }),
        ...(faster > 0 ? [`and ${faster} that are faster`] : []),
      );
    }
  }

  // All charts of a page. They show the same span of time: a zoom into one is a zoom into all.
  class Board {
    constructor(root) {
      this.points = [];
      this.zoom = null;
      this.charts = [...root.querySelectorAll("[data-chart]")].map(
        (card) =>
          new Chart(card, (zoom) => {
            this.zoom = zoom === undefined ? this.zoom : zoom;
            this.draw();
          }),
      );
      let width = root.clientWidth;
      new ResizeObserver(() => {
        if (root.clientWidth !== width) {
          width = root.clientWidth;
          this.draw();
        }
      }).observe(root);
    }

    // Draws every chart; gives how many milliseconds that took.
    draw() {
      const began = performance.now();
      if (this.points.length) {
        for (const chart of this.charts) {
          chart.draw(this.points, this.zoom);
        }
      }
      return performance.now() - began;
    }
  }

  return { Board };
})();
