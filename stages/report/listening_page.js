"use strict";
// Without this script every clip has the browser's own player; with it the mel pictures are the players.
const list = document.querySelector("#captions");
const tools = document.querySelector(".tools");
const status = document.querySelector(".status");
const articles = [...document.querySelectorAll("article")];
const clips = [...document.querySelectorAll(".clip")].filter((clip) => clip.querySelector("audio"));
const inOrder = new Map(articles.map((article) => [article, [...article.querySelectorAll(".clip")]]));
const names = new Map(clips.map((clip) => [clip, clip.querySelector(".name").textContent]));
const COMPARED = ["experiment_a", "experiment_b"];
const RATINGS = ["good", "usable", "unusable"];
const ratings = new Map(); // clip -> good, usable or unusable
const votes = new Map(); // article -> key of the preferred experiment, or "tie"
let current = null; // the clip that is playing
let last = null; // the clip that played or had the focus last
let queue = []; // what "Play row" has still to play

const audioOf = (clip) => clip.querySelector("audio");
const buttonOf = (clip) => clip.querySelector(".play");
const shown = (element) => !element.hidden;
const playable = (article) => clipsOf(article).filter((clip) => clips.includes(clip));
const clipsOf = (article) => [...article.querySelectorAll(".clip")].filter(shown);
const grid = () => [...document.querySelectorAll("article")].filter(shown).map(clipsOf);

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
  clip.querySelector(".ratings").hidden = false;
  button.addEventListener("click", () => (clip === current ? stop() : play(clip)));
  button.addEventListener("focus", () => focusOn(clip));
  audio.addEventListener("play", () => {
    for (const other of clips) if (other !== clip) audioOf(other).pause();
    current = clip;
    show(clip, true);
    status.textContent = "Playing " + clip.querySelector(".name").textContent + ": " + button.dataset.caption;
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
  for (const rating of clip.querySelectorAll(".rate"))
    rating.addEventListener("click", () => rate(clip, rating.dataset.rating));
}

for (const article of articles) {
  article.querySelector(".row").addEventListener("click", () => {
    const [first, ...rest] = playable(article);
    if (queue.length) stop();
    else play(first, rest);
  });
  for (const vote of article.querySelectorAll("[data-vote]"))
    vote.addEventListener("click", () => prefer(article, vote.dataset.vote));
}

function focusOn(clip) {
  last = clip;
  // One stop of the Tab key a caption; arrows go on from there.
  for (const member of playable(clip.closest("article"))) buttonOf(member).tabIndex = member === clip ? 0 : -1;
}

function neighbour(clip, right, down) {
  const rows = grid();
  let y = rows.findIndex((row) => row.includes(clip));
  let x = rows[y].indexOf(clip);
  do {
    x += right;
    y += down;
    if (!rows[y] || !rows[y][x]) return clip;
  } while (!clips.includes(rows[y][x]));
  return rows[y][x];
}

function rate(clip, rating) {
  if (ratings.get(clip) === rating) ratings.delete(clip);
  else ratings.set(clip, rating);
  for (const button of clip.querySelectorAll(".rate"))
    button.setAttribute("aria-pressed", String(button.dataset.rating === ratings.get(clip)));
  tally();
}

function prefer(article, vote) {
  votes.set(article, vote === "tie" ? vote : clipsOf(article)[Number(vote)].dataset.key);
  for (const button of article.querySelectorAll("[data-vote]"))
    button.setAttribute("aria-pressed", String(button.dataset.vote === vote));
  tally();
}

const count = (map, wanted) => [...map].filter(([key, value]) => wanted(key, value)).length;

function counts() {
  const preferred = Object.fromEntries([...COMPARED, "tie"].map((key) => [key, count(votes, (_, vote) => vote === key)]));
  const rated = {};
  for (const key of new Set([...ratings.keys()].map((clip) => clip.dataset.key)))
    rated[key] = Object.fromEntries(
      RATINGS.map((rating) => [rating, count(ratings, (clip, one) => clip.dataset.key === key && one === rating)])
    );
  return { preferred, rated };
}

// While the comparison is blind, the tally says how many were judged and not for whom.
function tally() {
  const { preferred, rated } = counts();
  const words = [];
  if (votes.size && tools.blind.checked) words.push(votes.size + " captions judged");
  else if (votes.size) words.push(`A preferred ${preferred.experiment_a}, B ${preferred.experiment_b}, neither ${preferred.tie}`);
  if (ratings.size && tools.blind.checked) words.push(ratings.size + " clips rated");
  else
    for (const [key, row] of Object.entries(rated)) {
      const clip = clips.find((one) => one.dataset.key === key);
      words.push(names.get(clip) + ": " + RATINGS.map((rating) => `${row[rating]} ${rating}`).join(", "));
    }
  tools.querySelector(".tally").textContent = words.join("; ");
}

function save() {
  const kept = {
    page: document.title,
    ...counts(),
    votes: [...votes].map(([article, preferred]) => ({ id: article.id, preferred })),
    ratings: [...ratings].map(([clip, rating]) => ({ id: clip.closest("article").id, system: clip.dataset.key, rating })),
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(kept, null, 2) + "\n"], { type: "application/json" }));
  link.download = "listening_tally.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

const compared = (article) => COMPARED.map((key) => clips.find((clip) => clip.closest("article") === article && clip.dataset.key === key));

function call(clip, name) {
  clip.querySelector(".name").textContent = name;
  buttonOf(clip).dataset.system = name;
  buttonOf(clip).setAttribute("aria-label", `Play ${name}: ${buttonOf(clip).dataset.caption}`);
}

// Which of both comes first is drawn anew for each caption whenever the blind comparison starts.
function blind() {
  stop();
  document.body.classList.toggle("blind", tools.blind.checked);
  for (const [article, members] of inOrder) {
    const pair = compared(article);
    if (tools.blind.checked && Math.random() < 0.5) pair.reverse();
    const order = tools.blind.checked && pair.every(Boolean) ? [...pair, ...members.filter((clip) => !pair.includes(clip))] : members;
    article.querySelector(".clips").append(...order);
    for (const clip of members) {
      clip.hidden = tools.blind.checked && !pair.includes(clip);
      if (clips.includes(clip)) call(clip, tools.blind.checked ? ["First", "Second"][pair.indexOf(clip)] ?? "" : names.get(clip));
    }
    article.querySelector(".votes").hidden = !tools.blind.checked;
    for (const button of article.querySelectorAll("[data-vote]")) {
      const vote = votes.get(article);
      button.setAttribute("aria-pressed", String(vote !== undefined && (button.dataset.vote === "tie" ? "tie" : pair[Number(button.dataset.vote)]?.dataset.key) === vote));
    }
  }
  arrange();
}

function arrange() {
  const [source, group] = [tools.source?.value, tools.group?.value];
  const gap = (article) => Number(article.dataset.gap ?? 0);
  const sign = { a: gap, b: (article) => -gap(article), gap: (article) => -Math.abs(gap(article)) }[tools.order.value];
  const order = sign ? [...articles].sort((one, other) => sign(one) - sign(other)) : articles;
  list.append(...order);
  for (const article of articles) {
    const wanted =
      (!source || article.dataset.sources.split(" ").includes(source)) &&
      (!group || article.dataset.group === group) &&
      (!tools.blind.checked || compared(article).every(Boolean));
    article.hidden = !wanted;
    article.querySelector(".row").hidden = playable(article).length === 0;
    if (playable(article).length) focusOn(playable(article)[0]);
  }
  if (current && !current.checkVisibility()) stop();
  last = null;
  tally();
}

if (clips.length) {
  tools.hidden = false;
  for (const choice of tools.querySelectorAll("select")) choice.addEventListener("change", arrange);
  tools.blind.addEventListener("change", blind);
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.querySelector(".save").addEventListener("click", save);
  tools.reset(); // a browser that reloads keeps what was chosen, and not what followed from it
  arrange();
}

const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
const preferences = { f: "0", s: "1", t: "tie" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !clips.length) return;
  const focused = document.activeElement;
  if (focused.matches("select")) return;
  const onClip = focused.classList.contains("play");
  const key = event.key.toLowerCase();
  if (event.key === "Escape") stop();
  else if (event.key === " " && focused === document.body) {
    event.preventDefault();
    if (current) stop();
    else {
      const clip = last || grid().flat().find((one) => clips.includes(one));
      if (!clip) return;
      buttonOf(clip).focus();
      play(clip);
    }
  } else if (steps[event.key] && onClip) {
    event.preventDefault();
    buttonOf(neighbour(focused.closest(".clip"), ...steps[event.key])).focus();
  } else if (RATINGS[key - 1] && last) rate(last, RATINGS[key - 1]);
  else if (key === "b") {
    tools.blind.checked = !tools.blind.checked;
    blind();
  } else if (preferences[key] && tools.blind.checked && last) prefer(last.closest("article"), preferences[key]);
});
