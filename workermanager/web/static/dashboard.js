// The live page: what the run sends, put where it belongs. Every text goes in as text.

"use strict";

(() => {
  const TOKEN = new URLSearchParams(location.search).get("token") ?? "";
  const SHORTEST_PAUSE_MS = 500; // between two drawings
  const SHARE_OF_TIME = 5; // a drawing that takes 200 ms is not repeated for a second

  const byId = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const some = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

  const board = new Charts.Board(document.body);
  let plan = {};
  let state = null;
  let isOver = false;
  let isDirty = false;
  let drawnAt = 0;
  let cost = 0;
  let timer = 0;

  // Texts

  const duration = (ms) => {
    if (ms === null || ms === undefined) {
      return ["-", ""];
    }
    if (ms > 0 && ms < 1) {
      return [some.format(ms * 1000), "µs"];
    }
    return ms < 1000 ? [some.format(ms), "ms"] : [some.format(ms / 1000), "s"];
  };

  const timeOf = (ms) => duration(ms).join(" ").trim();

  const clock = (seconds) => {
    const two = (value) => String(value).padStart(2, "0");
    const total = Math.floor(seconds);
    const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
    return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
  };

  const element = (tag, className, ...inside) => {
    const made = document.createElement(tag);
    made.className = className;
    made.append(...inside); // a string becomes a text node, never markup
    return made;
  };

  const cell = (text, className = "n") => element("td", className, text);
  const count = (value, alarm = "") =>
    cell(whole.format(value), value ? `n ${alarm}` : "n zero");

  const fill = (id, rows) => {
    byId(id).hidden = rows.length === 0;
    byId(id)
      .querySelector("tbody")
      .replaceChildren(...rows.map((cells) => element("tr", "", ...cells)));
  };

  // What is shown

  const showPlan = () => {
    document.title = `${plan.name}, workermanager`;
    byId("name").textContent = plan.name;
    const facts = [["run", plan.id], ["seed", plan.described.seed], ["threads", plan.threads]];
    byId("facts").replaceChildren(
      ...facts.map(([name, value]) => element("span", "", `${name} `, element("b", "", String(value)))),
      ...Object.entries(plan.tags).map(([name, value]) =>
        element("span", "tag", `${name}: ${value}`),
      ),
    );
    const list = Object.entries(plan.described)
      .map(([name, value]) => [name, inWords(value, name)])
      .filter(([, words]) => words !== "");
    byId("plan")
      .querySelector("dl")
      .replaceChildren(
        ...list.map(([name, words]) =>
          element(
            "div",
            "",
            element("dt", "", name.replaceAll("_", " ")),
            element("dd", "", words),
          ),
        ),
      );
  };

  const inWords = (value, name = "") => {
    if (value === null) {
      return "";
    }
    if (typeof value === "number" && name !== "seed") {
      return value.toLocaleString("en");
    }
    if (typeof value !== "object") {
      return String(value);
    }
    return Array.isArray(value)
      ? value.map((one) => inWords(one)).join(", ")
      : Object.entries(value)
          .map(([key, one]) => `${key} = ${inWords(one, key)}`)
          .join(", ");
  };

  const figure = (name, value, unit = "", alarm = "") => {
    const shown = element("dd", "", value);
    if (unit) {
      shown.append(element("small", "", unit));
    }
    return element("div", alarm, element("dt", "", name), shown);
  };

  const showFigures = () => {
    const counts = state.counts;
    const last = board.points.at(-1);
    const lost = counts.dropped + counts.expired;
    const figures = [
      figure("due", whole.format(counts.due)),
      figure("ok", whole.format(counts.ok)),
      figure("failed", whole.format(counts.failed), "", counts.failed ? "bad" : ""),
      figure("dropped, expired", whole.format(lost), "", lost ? "warn" : ""),
    ];
    if (isOver) {
      figures.push(
        figure("rate", state.seconds ? some.format((counts.ok + counts.failed) / state.seconds) : "-", "/s"),
        figure("response p99", ...duration(state.response_p99)),
        figure("lag p99", ...duration(state.lag_p99)),
        figure("interrupted", whole.format(counts.interrupted), "", counts.interrupted ? "warn" : ""),
        figure("exit code", String(state.exit_code), "", state.exit_code ? "bad" : ""),
      );
    } else {
      figures.push(
        figure("rate now", last ? whole.format(last.rate) : "-", "/s"),
        figure("p99 now", ...duration(last?.response?.[2])),
        figure("lag p99 now", ...duration(last?.lag?.[2])),
        figure("running", whole.format(counts.running)),
        figure("queued", whole.format(counts.queued)),
      );
    }
    byId("figures").replaceChildren(...figures);
  };

  const showState = () => {
    const pill = byId("state");
    if (pill.textContent !== state.state) {
      pill.textContent = state.state;
      pill.className = `pill ${state.state.replaceAll(" ", "-")}`;
    }
    const bar = byId("bar");
    const total = state.total;
    bar.className = isOver ? state.state : "";
    bar.hidden = total === null;
    bar.value = total ? state.done / total : 0;
    const share = total === null ? "" : `${Math.floor((100 * state.done) / (total || 1))} %, `;
    byId("progress").textContent = `${share}${clock(state.elapsed_s)}${isOver ? "" : " elapsed"}`;
    byId("accounting").textContent = state.accounting;
    showFigures();
    showThresholds();
    fill(
      "steps",
      state.steps.map((step) => [
        cell(step.name, "name"),
        count(step.ok),
        count(step.failed, "bad"),
        count(step.retried),
        count(step.timed_out),
        ...[step.p50, step.p95, step.p99, step.max].map((ms) => cell(timeOf(ms))),
      ]),
    );
    fill(
      "errors",
      state.errors.map((kind) => [
        cell(kind.step, "name"),
        cell(kind.type, "name"),
        count(kind.count, "bad"),
        cell(kind.example, "mono"),
      ]),
    );
    fill(
      "rows",
      Object.entries(state.rows).map(([table, rows]) => [cell(table, "name"), count(rows)]),
    );
    showStop();
  };

  const showThresholds = () => {
    byId("thresholds").hidden = state.thresholds.length === 0;
    byId("thresholds").replaceChildren(
      ...state.thresholds.map((verdict) => {
        const isKnown = verdict.value !== null;
        const word = verdict.passed ? (isKnown ? "kept" : "not measured") : "broken";
        const style = verdict.passed ? (isKnown ? "passed" : "") : "failed";
        const value = isKnown ? `${some.format(verdict.value)} ${verdict.unit}`.trim() : "";
        const at = verdict.at_s === null ? "" : `at ${clock(verdict.at_s)}`;
        const ended = verdict.aborted ? "ended the run" : "";
        const note = [value, at, ended].filter(Boolean).join(", ");
        return element(
          "li",
          "",
          element("span", `pill ${style}`, word),
          element("span", "expression", verdict.expression),
          element("span", "note", note),
        );
      }),
    );
  };

  // Drawing: rarely, and never where nobody looks

  const draw = () => {
    timer = 0;
    if (!isDirty || document.hidden) {
      return;
    }
    isDirty = false;
    cost = board.draw();
    drawnAt = performance.now();
  };

  const drawSoon = () => {
    isDirty = true;
    const pause = Math.max(SHORTEST_PAUSE_MS, cost * SHARE_OF_TIME);
    timer ||= setTimeout(draw, Math.max(0, drawnAt + pause - performance.now()));
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      draw();
      if (state) {
        showState();
      }
    }
  });

  // The stop button: asks first, and asks again before it does not wait

  const ask = (isAsked) => {
    byId("stop-ask").hidden = isAsked;
    byId("stop-question").hidden = !isAsked;
    byId("stop-yes").hidden = !isAsked;
    byId("stop-no").hidden = !isAsked;
  };

  const showStop = () => {
    const isStopping = state.state === "stopping";
    byId("stop").hidden = isOver;
    byId("stop-ask").textContent = isStopping ? "Stop now" : "Stop";
    byId("stop-question").textContent = isStopping
      ? "Not wait for what still runs?"
      : "Start nothing new, and let end what runs?";
    byId("stop-yes").textContent = isStopping ? "Yes, stop now" : "Yes, stop";
  };

  byId("stop-ask").addEventListener("click", () => {
    ask(true);
    byId("stop-yes").focus();
  });
  byId("stop-no").addEventListener("click", () => ask(false));
  byId("stop-yes").addEventListener("click", async () => {
    ask(false);
    const query = new URLSearchParams({ token: TOKEN });
    if (state?.state === "stopping") {
      query.set("now", "1");
    }
    try {
      const answer = await fetch(`/stop?${query}`, { method: "POST" });
      if (!answer.ok) {
        notice(`The run was not told to stop: ${answer.status}.`);
      }
    } catch {
      notice("The run was not told to stop: it cannot be reached.");
    }
  });

  const notice = (text) => {
    byId("notice").hidden = !text;
    byId("notice").textContent = text;
  };

  // The stream

  const stream = new EventSource(`/events?${new URLSearchParams({ token: TOKEN })}`);
  const on = (name, use) =>
    stream.addEventListener(name, (event) => use(JSON.parse(event.data)));

  on("plan", (sent) => {
    plan = sent;
    notice("");
    showPlan();
  });
  on("history", (points) => {
    board.points = points;
    drawSoon();
  });
  on("points", (points) => {
    board.points = [...board.points, ...points];
    drawSoon();
  });
  on("state", (sent) => {
    state = sent;
    if (!document.hidden) {
      showState();
    }
  });
  on("end", (sent) => {
    isOver = true;
    state = sent;
    stream.close();
    notice("");
    showState();
  });
  stream.addEventListener("error", () => {
    if (!isOver) {
      notice("The run does not answer. This page tries again, and shows what it heard last.");
    }
  });
})();
