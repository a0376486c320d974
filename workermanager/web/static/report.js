// The report: its tables stand there already, and this draws its charts.

"use strict";

(() => {
  const board = new Charts.Board(document.body);
  board.points = JSON.parse(document.getElementById("points").textContent);
  board.draw();
})();
