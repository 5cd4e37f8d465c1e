"use strict";
// Without this script every clip has the browser's own player; with it the mel pictures are the players.
const articles = [...document.querySelectorAll("article")];
const grid = articles.map((article) => [...article.querySelectorAll(".clip")]);
const clips = grid.flat().filter((clip) => clip.querySelector("audio"));
const status = document.querySelector(".status");
let current = null; // the clip that is playing
let last = null; // the clip that played or had the focus last
let queue = []; // what "Play row" has still to play

const audioOf = (clip) => clip.querySelector("audio");
const buttonOf = (clip) => clip.querySelector(".play");

function show(clip, playing) {
  clip.classList.toggle("playing", playing);
  buttonOf(clip).setAttribute("aria-pressed", String(playing));
}

function stop() {
  queue = [];
  if (current) audioOf(current).pause();
}

async function play(clip, rest = []) {
  stop();
  queue = rest;
  last = clip;
  const audio = audioOf(clip);
  audio.currentTime = 0;
  try {
    await audio.play();
  } catch (error) {
    // A stop that comes before the start is no failure.
    if (error.name !== "AbortError") status.textContent = "This browser cannot play the clip: " + error.message;
  }
}

function draw() {
  if (!current) return;
  const audio = audioOf(current);
  const share = audio.duration ? audio.currentTime / audio.duration : 0;
  current.querySelector(".head").style.left = (100 * share).toFixed(2) + "%";
  requestAnimationFrame(draw);
}

for (const clip of clips) {
  const audio = audioOf(clip);
  const button = buttonOf(clip);
  audio.controls = false;
  button.disabled = false;
  button.addEventListener("click", () => (clip === current ? stop() : play(clip)));
  button.addEventListener("focus", () => focusOn(clip));
  audio.addEventListener("play", () => {
    for (const other of clips) if (other !== clip) audioOf(other).pause();
    current = clip;
    show(clip, true);
    status.textContent = "Playing " + button.dataset.system + ": " + button.dataset.caption;
    requestAnimationFrame(draw);
  });
  audio.addEventListener("pause", () => {
    show(clip, false);
    if (current === clip) current = null;
  });
  audio.addEventListener("ended", () => {
    const next = queue.shift();
    if (next) play(next, queue);
    else status.textContent = "";
  });
}

articles.forEach((article, index) => {
  const playable = grid[index].filter((clip) => clips.includes(clip));
  const row = article.querySelector(".row");
  row.hidden = playable.length === 0;
  row.addEventListener("click", () => {
    if (queue.length) stop();
    else play(playable[0], playable.slice(1));
  });
  // One stop of the Tab key a caption; arrows go on from there.
  playable.forEach((clip, place) => (buttonOf(clip).tabIndex = place === 0 ? 0 : -1));
});

function focusOn(clip) {
  last = clip;
  const row = grid.find((members) => members.includes(clip));
  for (const member of row) if (clips.includes(member)) buttonOf(member).tabIndex = member === clip ? 0 : -1;
}

function neighbour(clip, right, down) {
  let y = grid.findIndex((row) => row.includes(clip));
  let x = grid[y].indexOf(clip);
  do {
    x += right;
    y += down;
    if (!grid[y] || !grid[y][x]) return clip;
  } while (!clips.includes(grid[y][x]));
  return grid[y][x];
}

const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !clips.length) return;
  const onClip = document.activeElement && document.activeElement.classList.contains("play");
  const idle = onClip || document.activeElement === document.body;
  if (event.key === "Escape") stop();
  else if (event.key === " " && !onClip && idle) {
    event.preventDefault();
    if (current) stop();
    else {
      const clip = last || clips[0];
      buttonOf(clip).focus();
      play(clip);
    }
  } else if (steps[event.key] && onClip) {
    event.preventDefault();
    const next = neighbour(document.activeElement.closest(".clip"), ...steps[event.key]);
    buttonOf(next).focus();
  }
});
