// parts.js - elements, numbers and times as people read them.
// All text goes through textContent: nothing that Weir says is ever taken for HTML.

const byId = (id) => document.getElementById(id);

// What turns letters around, or cannot be seen, is shown by its number: else one name may look like another.
const plain = (text) => text.replace(/[\0-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
	(c) => `<U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}>`);

// el('td', { class: 'num', onclick: f }, 'text', element, ...)
function el(name, attrs, ...children) {
	const e = document.createElement(name);
	for (const [k, v] of Object.entries(attrs || {})) {
		if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
		else if (v === true) e.setAttribute(k, '');
		else if (v !== false && v !== null && v !== undefined) e.setAttribute(k, v);
	}
	e.append(...children.filter((c) => c !== null && c !== undefined).map((c) => (typeof c === 'string' ? plain(c) : c)));
	return e;
}

function svg(name, attrs, ...children) {
	const e = document.createElementNS('http://www.w3.org/2000/svg', name);
	for (const [k, v] of Object.entries(attrs || {})) e.setAttribute(k, v);
	e.append(...children);
	return e;
}

// Sets only what differs: most of what is polled is as it was.
function setText(e, text) {
	text = plain(text);
	if (e.textContent !== text) e.textContent = text;
}

function setClass(e, name) {
	if (e.className !== name) e.className = name;
}

const signs = { good: '✓', warn: '!', bad: '✕', quiet: '·' };

// A state in words; sign and colour only say it again.
function badge(kind, text, title) {
	return el('span', { class: 'badge ' + kind, title }, el('span', { 'aria-hidden': 'true' }, signs[kind] + ' '), text);
}

// Called with every new size of it, and nothing is laid out only to know it.
const resized = new ResizeObserver((list) => list.forEach((entry) => entry.target.onresized()));
function onResize(e, tell) {
	e.onresized = tell;
	resized.observe(e);
}

// Replaces children only when they would look different.
function setChildren(e, children) {
	const mark = children.map((c) => c.className + c.textContent + (c.title || '')).join('\n');
	if (e.mark === mark) return;
	e.mark = mark;
	e.replaceChildren(...children);
}

function number(n) {
	if (n === null || n === undefined || Number.isNaN(n)) return '–';
	if (n === 0) return '0';
	const a = Math.abs(n);
	for (const [size, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']])
		if (a >= size) return (n / (size === 1e4 ? 1e3 : size)).toFixed(1) + unit;
	if (Number.isInteger(n)) return String(n);
	return a >= 100 ? n.toFixed(0) : a >= 0.995 ? n.toFixed(1) : a >= 0.005 ? n.toFixed(2) : '<0.01';
}

function bytes(n) {
	if (n === null || n === undefined) return '–';
	for (const [size, unit] of [[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [1024, 'KiB']])
		if (n >= size) return (n / size).toFixed(1) + ' ' + unit;
	return n.toFixed(0) + ' B';
}

// Seconds, of something that took that long.
function took(s) {
	if (s === null || s === undefined || Number.isNaN(s)) return '–';
	if (s === 0) return '0';
	if (s < 0.001) return (s * 1e6).toPrecision(s < 1e-4 ? 2 : 3) + ' µs';
	if (s < 1) return Number((s * 1e3).toPrecision(3)) + ' ms';
	return s < 100 ? s.toFixed(2) + ' s' : span(s);
}

// Seconds, of a state that lasts: "3 d 4 h".
function span(s) {
	if (s === null || s === undefined) return '–';
	s = Math.max(0, Math.floor(s));
	const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
	if (d) return `${d} d ${h} h`;
	if (h) return `${h} h ${m} min`;
	return m ? `${m} min ${s % 60} s` : `${s} s`;
}

// The same for tables: "3 d".
function brief(s) {
	return span(s).split(' ').slice(0, 2).join(' ');
}

function percent(part, whole) {
	return whole ? `${Math.round(part * 100 / whole)} %` : '–';
}

// By Weir's clock, which logs go by, whatever this machine's says.
function weirNow() {
	return state.stats && readAt !== null ? new Date((state.stats.now + performance.now() / 1000 - readAt) * 1000) : new Date();
}

// As logs say it: UTC; with the day where that is not today.
function clock(date) {
	const [day, time] = date.toISOString().split('T');
	return (day === weirNow().toISOString().slice(0, 10) ? '' : day.slice(5) + ' ') + time.slice(0, 8) + 'Z';
}

const plural = (n, what) => `${number(n)} ${what}${n === 1 ? '' : 's'}`;
