// upstreams.js - endpoints, in the columns of HAProxy's page.

const endpointKinds = { up: 'good', drain: 'warn', off: 'warn', down: 'bad', unhealthy: 'bad', unresolved: 'bad' };
const endpointSigns = { up: '▲', drain: '◆', off: '○', down: '▼', unhealthy: '✕', unresolved: '?' };

const endpointOrders = {
	up: ['Up', 'Take it back into service?', 'It gets calls again, as its checks say.'],
	drain: ['Drain', 'Drain it?', 'It gets no new calls; those under way end in peace.'],
	down: ['Down', 'Take it down?', 'It gets no new calls, its connections are not kept, and it is not checked.'],
};

async function orderEndpoint(e, to) {
	const [yes, title, text] = endpointOrders[to];
	if (await sure({ title, text: `${e.endpoint} of ${e.upstream}. ${text}`, yes }))
		await order(`Endpoint ${e.endpoint} of ${e.upstream}`, `/upstreams/${part(e.upstream)}/${part(e.endpoint)}`, { method: 'PUT', body: { state: to } }, () => to);
}

const stateOf = (e) => (e.off ? 'off' : e.state);

function endpointRow(upstream, e) {
	const at = (what, v) => rate(`endpoint ${upstream} ${e.endpoint} ${what}`, v);
	const total = e.ok + e.failed + e.aborted;
	const row = { ...e, upstream, total, rate: at('all', total), errors: at('failed', e.failed) };
	row.rateMost = peak(`rate ${upstream} ${e.endpoint}`, row.rate);
	row.waitingMost = peak(`waiting ${upstream} ${e.endpoint}`, e.waiting);
	return row;
}

// Of several endpoints together.
function upstreamRow(upstream, rows) {
	const sum = (key) => rows.reduce((n, r) => n + (r[key] || 0), 0);
	const up = rows.filter((r) => stateOf(r) === 'up').length;
	const row = { sum: true, fixed: true, upstream, endpoint: `all ${rows.length}`, state: up === rows.length ? 'up' : up ? 'drain' : 'unhealthy', word: `${up} of ${rows.length} up` };
	for (const key of ['weight', 'active', 'waiting', 'connections', 'idle', 'total', 'failed', 'unreached', 'retries', 'redispatches', 'request_bytes', 'response_bytes', 'rate', 'errors', 'aborted']) row[key] = sum(key);
	row.rateMost = peak(`rate ${upstream}`, row.rate);
	row.waitingMost = peak(`waiting ${upstream}`, row.waiting);
	return row;
}

function lastCheck(e) {
	if (e.sum) return '';
	if (!e.check) return 'none';
	return e.check.last ? `${e.check.last}, ${took(e.check.duration)}` : 'not yet';
}

panel('upstreams', 'Upstreams', (section) => {
	const num = (head, get, title, kind) => ({ head, num: true, get, title, kind });
	const draw = table(section, 'Rates are per second; max: since this page was opened, of sessions since the start', [
		{ head: 'Upstream', get: (e) => e.upstream },
		{ head: 'Endpoint', get: (e) => e.endpoint },
		{ head: 'Status', class: 'nowrap', get: (e) => `${endpointSigns[stateOf(e)] || '?'} ${e.word || stateOf(e)}${e.check && e.check.since !== null ? ', ' + brief(e.check.since) : ''}`, kind: (e) => endpointKinds[stateOf(e)] || 'warn' },
		{ head: 'LastChk', class: 'nowrap', get: lastCheck, title: 'what the last check found, and how long it took' },
		num('Chk', (e) => (e.check ? number(e.check.failed_in_a_row) : ''), 'checks that failed in a row', (e) => (e.check && e.check.failed_in_a_row ? 'bad' : 'zero')),
		num('Dwn / time', (e) => (e.check ? `${number(e.check.downs)} / ${brief(e.check.down_time)}` : ''), 'how often it went down, and how long it was in all', (e) => (e.check && e.check.downs ? '' : 'zero')),
		num('Wght', (e) => number(e.weight), 'weight'),
		num('Thrtle', (e) => (e.sum || e.warmth >= 100 ? '–' : `${e.warmth} %`), 'how much of its weight counts while it starts slowly', (e) => (e.warmth < 100 ? 'warn' : 'zero')),
		{ head: 'Act/Bck', get: (e) => (e.sum ? '' : e.backup ? 'backup' : 'active') },
		num('Queue cur / max', (e) => `${number(e.waiting)} / ${number(e.waitingMost)}`, 'calls that wait for a connection to it', (e) => (e.waiting ? 'warn' : e.waitingMost ? '' : 'zero')),
		num('Rate cur / max', (e) => `${number(e.rate)} / ${number(e.rateMost)}`, 'calls per second'),
		num('Sess cur / max / limit', (e) => `${number(e.active)} / ${number(e.active_most)} / ${e.max_active ? number(e.max_active) : '–'}`, 'calls under way; max: of all workers together no more than that'),
		num('Total', (e) => number(e.total), 'calls'),
		num('Bytes in / out', (e) => `${bytes(e.request_bytes)} / ${bytes(e.response_bytes)}`, 'of requests that were sent to it, and of its answers'),
		num('Err conn / resp', (e) => `${number(e.unreached)} / ${number(e.failed - e.unreached)}` + (e.errors ? ` (${number(e.errors)}/s)` : ''), 'tries that failed: before anything was sent, and after', (e) => (e.errors ? 'bad' : e.failed ? '' : 'zero')),
		num('Retr / redis', (e) => `${number(e.retries)} / ${number(e.redispatches)}`, 'tries made here after one that failed; and those of them that had failed elsewhere', (e) => (e.retries ? 'warn' : 'zero')),
		num('Aborted', (e) => number(e.aborted), 'tries that the client gave up', (e) => (e.aborted ? '' : 'zero')),
		num('Conns / idle', (e) => `${number(e.connections)} / ${number(e.idle)}`, 'connections'),
		{ head: 'Orders', make: (row) => Object.keys(endpointOrders).map((to) =>
			el('button', { onclick: () => orderEndpoint(row(), to), 'aria-label': `${endpointOrders[to][0]}: ${row().endpoint} of ${row().upstream}` }, endpointOrders[to][0])) },
	], { key: (e) => `${e.upstream}\n${e.endpoint}`, busy: (e) => (e.state === 'up' ? 0 : 1e9) + e.rate, none: 'There are no upstreams.' });
	return () => draw(state.stats.upstreams.flatMap((u) => {
		const rows = u.endpoints.map((e) => endpointRow(u.upstream, e));
		return rows.length > 1 ? [...rows, upstreamRow(u.upstream, rows)] : rows;
	}));
});
