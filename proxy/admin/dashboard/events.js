// events.js - the last things that happened, followed as they come.
//
// EventSource cannot show a token: the stream is read by hand.  Without a place among those that
// follow (`admin.streams`) the page asks now and then.  So do all tabs but one: each stream keeps a
// connection, and browsers have six for a host.  EVENTS_MAX are kept.

const EVENTS_MAX = 200;
const STREAM_SILENT_MS = 45000; // Weir says something every 15 s
const STREAM_RETRY_MS = 5000;
const BUFFER_MAX = 65536;

let stream = null, nextEvent = 1, streamAfter = 0;
const events = [];
let drawEvents = () => {};

function addEvent(e) {
	if (e.seq < nextEvent) return;
	nextEvent = e.seq + 1;
	events.unshift({ ...e, id: `${state.stats.start_time} ${e.seq}` });
	events.length = Math.min(events.length, EVENTS_MAX);
	if (e.kind === 'reload' && e.level === 'error') state.reloadError = e.text;
}

function takeLines(text) {
	const messages = text.split('\n\n');
	const rest = messages.pop();
	for (const m of messages) {
		const data = m.split('\n').find((line) => line.startsWith('data: '));
		if (data) addEvent(JSON.parse(data.slice(6)));
	}
	drawEvents();
	return rest.length > BUFFER_MAX ? '' : rest;
}

async function readStream(abort) {
	let silence;
	const listen = () => {
		clearTimeout(silence);
		silence = setTimeout(() => abort.abort(), STREAM_SILENT_MS);
	};
	try {
		listen();
		const r = await fetch(`/events?since=${nextEvent}`, { headers: headers(), signal: abort.signal, cache: 'no-store', credentials: 'omit' });
		if (r.status !== 200) throw new Refused(r.status, await r.text());
		const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
		for (let text = ''; ; ) {
			listen();
			const { value, done } = await reader.read();
			if (done) return;
			text = takeLines(text + value);
		}
	} finally {
		clearTimeout(silence);
	}
}

async function askEvents() {
	const { events: list } = await ask(`/events?follow=false&since=${nextEvent}`);
	list.forEach(addEvent);
	drawEvents();
}

// Called after each reading: begins what has ended, but not at once.
async function followEvents() {
	if (stream || performance.now() < streamAfter) return;
	const mine = stream = new AbortController();
	try {
		// where the page came neither over TLS nor from this machine, there are no locks
		if (!navigator.locks) await readStream(mine);
		else await navigator.locks.request('events', { ifAvailable: true }, (lock) => (lock ? readStream(mine) : askEvents()));
	} catch (e) {
		if (e.status === 503) await askEvents().catch(() => {});
	}
	if (stream === mine) {
		stream = null;
		streamAfter = performance.now() + STREAM_RETRY_MS;
	}
}

function stopEvents() {
	const was = stream;
	stream = null;
	streamAfter = 0;
	if (was) was.abort();
}

// Another process: its events are numbered from 1 again.
function onRestart() {
	stopEvents();
	forgetReadings();
	nextEvent = 1;
	state.reloadError = '';
}

panel('events', 'Events', (section) => {
	const only = el('input', { type: 'checkbox', onchange: () => drawEvents() });
	section.firstChild.append(el('label', { class: 'check' }, only, ' warnings and errors only'));
	const kinds = { info: 'quiet', warn: 'warn', error: 'bad' };
	const draw = table(section, 'Newest first, times in UTC', [
		{ head: 'Time', class: 'nowrap', get: (e) => clock(new Date(e.time)) },
		{ head: 'Level', get: (e) => `${signs[kinds[e.level]] || '·'} ${e.level}`, kind: (e) => kinds[e.level] },
		{ head: 'About', get: (e) => e.kind },
		{ head: 'What', class: 'text', get: (e) => e.text },
	], { key: (e) => e.id, max: EVENTS_MAX, none: 'Nothing yet.' });
	drawEvents = () => draw(only.checked ? events.filter((e) => e.level !== 'info') : events);
	return () => {};
});
