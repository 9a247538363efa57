"use strict";
// What all of the page uses. Rules: what comes from the data becomes text and attributes, never
// markup; nothing is loaded, nothing is kept.
const byId = (id) => document.getElementById(id);
const DATA = JSON.parse(byId("data").textContent);
const TITLE = document.title;

const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== ""));
  return node;
};
const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const seconds = (us, digits = 3) => `${(us / 1e6).toFixed(digits)} s`;
const lasting = (us) =>
  us < 1000 ? `${us} µs` : us < 1e6 ? `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms` : seconds(us, 2);
const cut = (text, room, wide = 6.6) => {
  const most = Math.max(2, Math.floor(room / wide));
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
};
