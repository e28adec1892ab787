// chart.js - lines over the last minutes.  A chart keeps POINTS points and no more.

const POINTS = 160;
const MINUTES = 5;
const [HIGH, LEFT, FOOT] = [92, 46, 14];

// The next of 1, 2, 5 times a power of ten.
function ceiling(v) {
	const p = 10 ** Math.floor(Math.log10(v));
	return [1, 2, 5, 10].map((m) => m * p).find((x) => x >= v * 0.999) || 10 * p;
}

// Of the newest points: enough for what can be shown.
class Ring {
	constructor(width) {
		this.at = new Float64Array(POINTS).fill(NaN);
		this.values = Array.from({ length: width }, () => new Float64Array(POINTS).fill(NaN));
		this.next = 0;
		this.n = 0;
	}
	push(at, values) {
		this.at[this.next] = at;
		values.forEach((v, i) => (this.values[i][this.next] = v === null ? NaN : v));
		this.next = (this.next + 1) % POINTS;
		this.n = Math.min(this.n + 1, POINTS);
	}
	// Oldest first: visit(time, index).
	each(visit) {
		for (let i = 0; i < this.n; i++) {
			const k = (this.next - this.n + i + POINTS) % POINTS;
			visit(this.at[k], k);
		}
	}
}

// chart(parent, 'Requests per second', ['all', 'refused'], number) gives push(seconds, values); values
// are null where nothing is known.  `least`: the top of the scale is never below it.
function chart(parent, title, names, format, least = 1) {
	const ring = new Ring(names.length);
	const traces = names.map((_, i) => svg('path', { class: `trace s${i + 1}` }));
	const top = svg('text', { class: 'axis', x: LEFT - 5, y: 11, 'text-anchor': 'end' });
	const grid = svg('path', { class: 'grid' });
	const right = svg('text', { class: 'axis', y: HIGH - 2, 'text-anchor': 'end' }, 'now');
	const left = svg('text', { class: 'axis', x: LEFT, y: HIGH - 2 });
	const drawing = svg('svg', { role: 'img', 'aria-label': title }, grid, top, right,
		svg('text', { class: 'axis', x: LEFT - 5, y: HIGH - FOOT, 'text-anchor': 'end' }, '0'),
		left, ...traces);
	const now = names.map(() => el('b', {}, '–'));
	const legend = el('ul', { class: 'legend' }, ...names.map((name, i) =>
		el('li', {}, svg('svg', { viewBox: '0 0 22 8', 'aria-hidden': 'true' }, svg('path', { class: `trace s${i + 1}`, d: 'M0 4H22' })), name + ' ', now[i])));
	const when = el('span', { class: 'quiet' });

	parent.append(el('figure', {}, el('div', { class: 'top' }, el('h3', {}, title), when), drawing, legend));

	let first = null, last = null, hover = null, wide = 0, minutes = 1;

	function fit(w) {
		wide = w;
		drawing.setAttribute('viewBox', `0 0 ${w} ${HIGH}`);
		grid.setAttribute('d', `M${LEFT} 4.5H${w}M${LEFT} ${(HIGH - FOOT + 4.5) / 2}H${w}M${LEFT} ${HIGH - FOOT}H${w}`);
		right.setAttribute('x', w);
	}

	function highest() {
		let most = 0;
		ring.each((at, k) => {
			for (const v of ring.values) if (v[k] > most && at >= last - minutes * 60) most = v[k];
		});
		return Math.max(ceiling(most || least), least);
	}
	const x = (at) => wide - (last - at) / (minutes * 60) * (wide - LEFT);
	function trace(v, max) {
		let d = '', gap = true;
		ring.each((at, k) => {
			if (Number.isNaN(v[k]) || at < last - minutes * 60) { gap = true; return; }
			d += `${gap ? 'M' : 'L'}${x(at).toFixed(1)} ${(HIGH - FOOT - v[k] / max * (HIGH - FOOT - 4.5)).toFixed(1)}`;
			gap = false;
		});
		return d;
	}
	// The point under the pointer, else the newest.
	function legendAt() {
		let best = (ring.next - 1 + POINTS) % POINTS;
		if (hover !== null) ring.each((at, k) => { if (Math.abs(x(at) - hover) < Math.abs(x(ring.at[best]) - hover)) best = k; });
		names.forEach((_, i) => setText(now[i], format(ring.values[i][best])));
		setText(when, hover === null ? '' : `${Math.round(last - ring.at[best])} s ago`);
	}
	function draw() {
		if (last === null) return;
		minutes = Math.min(MINUTES, Math.ceil((last - first) / 60) || 1);
		setText(left, `${minutes} min ago`);
		const max = highest();
		setText(top, format(max));
		traces.forEach((t, i) => t.setAttribute('d', trace(ring.values[i], max)));
		legendAt();
		drawing.setAttribute('aria-label', `${title}, the last ${minutes} min, up to ${format(max)}. Now: ` +
			names.map((name, i) => `${name} ${now[i].textContent}`).join(', '));
	}
	fit(340);
	onResize(drawing, () => {
		fit(drawing.clientWidth || 340);
		draw();
	});
	drawing.addEventListener('pointermove', (e) => {
		const box = drawing.getBoundingClientRect();
		hover = (e.clientX - box.left) / box.width * wide;
		if (last !== null) legendAt();
	});
	drawing.addEventListener('pointerleave', () => { hover = null; if (last !== null) legendAt(); });
	return (at, values) => {
		if (first === null) first = at;
		ring.push(last = at, values);
		draw();
	};
}
