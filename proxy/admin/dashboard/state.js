// state.js - what was read last, what changed since, and when to read again.
//
// Every POLL_MS the numbers are read, every third time what changes seldom; later when Weir takes
// long to answer (never more than a twentieth of the time is asked of it), not at all while nobody
// looks, and ever more seldom while it does not answer.  Nothing grows: of all that was read, the
// last two readings are kept, and the points of charts.

const POLL_MS = 2000;
const POLL_MAX_MS = 15000;
const SELDOM = 3;
const HISTORY = 5; // readings that quantiles are taken over

const state = {
	stats: null, health: null, breakers: [], limits: [], drain: null, level: null,
	readOnly: true,  // without a token no order is given from here
	failedAt: null,  // Date: since then it does not answer
	reloadError: '', // of the last reload, when it failed
};

/*---------------------------------------------------------------------- rates */

let before = new Map(), after = new Map(), seconds = 0, readAt = null, toldAt = 0;

// Per second since the reading before; null: not known.  Each name once a reading.
function rate(name, value) {
	const old = before.get(name);
	after.set(name, value);
	return old === undefined || value < old || seconds < 0.2 ? null : (value - old) / seconds;
}

// Another process counts from 0: nothing of the one before is compared with it.
function forgetReadings() {
	after.clear();
	newPeaks.clear();
	readAt = null;
}

// The highest that was seen of it since the page was opened, as long as it is there.
let peaks = new Map(), newPeaks = new Map();
function peak(name, value) {
	const most = Math.max(value || 0, peaks.get(name) || 0);
	newPeaks.set(name, most);
	return most;
}

function nextReading(gap) {
	const now = performance.now() / 1000;
	seconds = readAt === null ? 0 : now - readAt;
	// of when they were counted, not when they came; but not if that clock was set meanwhile
	if (Math.abs(state.stats.now - toldAt - seconds) < 1) seconds = state.stats.now - toldAt;
	toldAt = state.stats.now;
	if (gap) cellsRead.clear();
	readAt = now;
	[before, after] = [after, new Map()];
	[peaks, newPeaks] = [newPeaks, new Map()];
}

/*------------------------------------------------------------------ quantiles */

const cellsRead = new Map();

function middle(limit) {
	if (limit === null) return 1000;
	if (limit <= 1e-6) return limit / 2;
	const p = 10 ** Math.floor(Math.log10(limit * 0.999999)), m = limit / p;
	return limit - (m < 2.01 ? 0.2 : m < 5.01 ? 0.25 : 1) * p / 2;
}

// Of what came in the last readings: [p50, p95, p99], nulls when nothing came.
function quantiles(name, cells) {
	const past = cellsRead.get(name) || [];
	const now = new Map(cells);
	const then = past[0] || now;
	const fresh = cells.map(([limit, n]) => [limit, n - (then.get(limit) || 0)]);
	const all = fresh.reduce((sum, c) => sum + c[1], 0);
	cellsRead.set(name, [...past, now].slice(-HISTORY));
	if (fresh.some((c) => c[1] < 0)) cellsRead.delete(name);
	return [0.5, 0.95, 0.99].map((q) => {
		let n = 0;
		const at = fresh.find((c) => (n += c[1]) >= all * q && c[1] > 0);
		return all > 0 && at ? middle(at[0]) : null;
	});
}

/*--------------------------------------------------------------------- panels */

const panels = [];

// One more panel: `make(section)` is called once and gives a function that is called after each
// reading.
function panel(id, title, make, half) {
	panels.push({ id, title, make, half });
}

function buildPanels() {
	for (const p of panels) {
		const section = el('section', { id: p.id, 'aria-labelledby': p.id + '-title', class: p.half ? 'half' : '' },
			el('div', { class: 'top' }, el('h2', { id: p.id + '-title' }, p.title)));
		byId('main').append(section);
		byId('nav').append(el('a', { href: '#' + p.id }, p.title));
		p.draw = p.make(section);
	}
}

function drawPanels() {
	for (const p of panels) {
		try {
			p.draw();
		} catch (e) {
			console.error(p.id, e);
		}
	}
}

/*-------------------------------------------------------------------- reading */

let readings = 0, timer = null, reading = false, again = false, failures = 0, tookMs = 0;

const seldom = [
	['/health', (v) => (state.health = v)],
	['/limits?top=5', (v) => (state.limits = v.limits)],
	['/drain', (v) => (state.drain = v)],
	['/log-level', (v) => (state.level = v)],
];

async function readAll() {
	const all = again;
	again = false; // an order may be given meanwhile
	const began = performance.now();
	const stats = await ask('/stats.json');
	const wait = performance.now() - began;
	const wanted = readings % SELDOM === 0 || all ? seldom : [];
	const more = await Promise.all([['/breakers', (v) => (state.breakers = v.breakers)], ...wanted].map(
		async ([path, put]) => [put, await ask(path, { fine: path === '/health' ? [200, 503] : [200] })]));
	if (more.some(([, v]) => typeof v !== 'object')) throw new Error('an answer is no JSON');
	if (state.stats && state.stats.start_time !== stats.start_time) onRestart();
	tookMs = wait;
	state.stats = stats;
	for (const [put, v] of more) put(v);
	readings++;
}

function onRead() {
	failures = 0;
	state.failedAt = null;
	const gap = readAt === null || performance.now() / 1000 - readAt > 4 * period() / 1000;
	state.readOnly = !state.stats.admin.token || !token;
	byId('gone').hidden = true;
	const first = document.body.classList.contains('locked');
	document.body.classList.remove('stale', 'locked');
	nextReading(gap);
	state.gap = gap;
	drawHeader();
	drawPanels();
	const target = first && byId(location.hash.slice(1));
	if (target) target.scrollIntoView();
}

// `asked`: the token that was there when the reading began.
function onFailure(e, asked) {
	if (e.status === 401) {
		if (token !== asked) return (again = true); // of the one that was given since nothing is known yet
		const had = token;
		if (had) dropToken();
		if (had || byId('token-form').hidden) askToken(had ? 'This token is not accepted.' : '');
		if (had) again = true; // without it something may be shown all the same
		else {
			stopEvents();
			document.body.classList.add('locked');
			return false;
		}
		return true;
	}
	failures++;
	state.failedAt = state.failedAt || weirNow();
	document.body.classList.add('stale');
	const gone = byId('gone');
	gone.hidden = false;
	setText(gone, `No answer from Weir since ${clock(state.failedAt)} (${e.message || e}). ` +
		'What is shown is from before that. Trying again by itself.');
	setChildren(byId('badges'), [badge('bad', 'no answer')]);
	document.title = 'Weir: no answer';
	return true;
}

function period() {
	return Math.min(POLL_MAX_MS, Math.max(POLL_MS * 2 ** Math.min(failures, 4), tookMs * 20));
}

async function poll() {
	clearTimeout(timer);
	timer = null;
	if (reading || document.hidden) return;
	reading = true;
	let more = true;
	const asked = token;
	try {
		await readAll();
		onRead();
		if (!document.hidden) followEvents();
	} catch (e) {
		more = onFailure(e, asked);
	}
	reading = false;
	if (more && !document.hidden) timer = setTimeout(poll, again ? 0 : period());
	setText(byId('polling'), more ? `every ${Math.round(period() / 1000)} s` : 'waiting for the token');
}

// After an order: with all that changes seldom.
function pollNow() {
	again = true;
	if (!reading) poll();
}

function restart() {
	stopEvents();
	state.failedAt = null;
	pollNow();
}

document.addEventListener('visibilitychange', () => {
	if (document.hidden) {
		clearTimeout(timer);
		stopEvents();
	} else {
		pollNow();
	}
});
