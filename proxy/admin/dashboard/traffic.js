// traffic.js - charts, and routes.

// Of one route, or of all: calls by class, 429 and 503 apart.
function classes(routes) {
	const by = { all: 0, 2: 0, 3: 0, 4: 0, 5: 0, 429: 0, 503: 0, none: 0 };
	for (const r of routes)
		for (const { code, count } of r.requests) {
			by.all += count;
			by[code === 429 || code === 503 ? code : code >= 200 && code < 600 ? Math.floor(code / 100) : 'none'] += count;
		}
	return by;
}

const zeroIfKnown = (v) => (v === null ? null : v);

panel('traffic', 'Traffic', (section) => {
	const box = el('div', { class: 'charts' });
	section.append(box);
	const perSecond = chart(box, 'Requests per second', ['requests'], number);
	const answers = chart(box, 'Answers per second', ['2xx', '3xx', '4xx', '5xx', 'none'], number);
	const refusals = chart(box, '429 and 503 per second', ['429', '503'], number);
	const duration = chart(box, 'Duration', ['p50', 'p95', 'p99'], took, 0.001);
	const added = chart(box, 'Latency added by Weir', ['p50', 'p95', 'p99'], took, 0.0001);
	const flight = chart(box, 'Under way', ['calls', 'connections'], number, 5);
	return () => {
		const s = state.stats, by = classes(s.routes), at = readAt;
		const r = Object.fromEntries(Object.entries(by).map(([k, v]) => [k, zeroIfKnown(rate('all ' + k, v))]));
		const rows = [
			[perSecond, [r.all]],
			[answers, [r[2], r[3], r[4], r[5], r.none]],
			[refusals, [r[429], r[503]]],
			[duration, quantiles('duration', s.histograms.duration)],
			[added, quantiles('overhead', s.histograms.overhead)],
			[flight, [s.routes.reduce((n, x) => n + x.in_flight, 0), s.listeners.reduce((n, l) => n + l.active, 0)]],
		];
		for (const [push, values] of rows) {
			if (state.gap) push(at - 0.001, values.map(() => null));
			push(at, values);
		}
	};
});

function chain(names) {
	const shadow = new Set(state.stats.policies.filter((p) => p.shadow).map((p) => p.policy));
	return [el('span', { class: 'chain' }, ...names.flatMap((name, i) => [
		i ? el('i', { 'aria-label': 'then' }, '→') : null,
		el('span', { class: shadow.has(name) ? 'shadow' : '' }, name + (shadow.has(name) ? ' (shadow)' : '')),
	]))];
}

function routeRow(r, chains) {
	const by = classes([r]);
	const at = (what, v) => rate(`route ${r.route} ${what}`, v);
	const c = chains.get(r.route);
	return {
		name: r.route, chain: c ? c.policies : [], to: c ? c.to || 'answers itself' : '', flight: r.in_flight,
		all: at('all', by.all), ok: at('ok', by[2] + by[3]), c4: at('4', by[4]), r429: at('429', by[429]), c5: at('5', by[5]), r503: at('503', by[503]),
		in: at('in', r.request_bytes), out: at('out', r.response_bytes), aborts: at('aborts', r.client_aborts),
		p50: r.duration.count ? r.duration.p50 : null, p99: r.duration.count ? r.duration.p99 : null,
	};
}

panel('routes', 'Routes', (section) => {
	const num = (head, key, format = number, kind, title) => ({ head, num: true, title, get: (r) => format(r[key]), kind: (r) => kind && r[key] > 0 ? kind : r[key] ? '' : 'zero' });
	const draw = table(section, 'Per second; durations since the start', [
		{ head: 'Route', get: (r) => r.name },
		{ head: 'Policies, in order', get: (r) => (r.chain.length ? chain(r.chain) : '–') },
		{ head: 'To', get: (r) => r.to || '–' },
		num('Requests', 'all'), num('Under way', 'flight'), num('2xx 3xx', 'ok'), num('4xx', 'c4'), num('429', 'r429', number, 'warn'),
		num('5xx', 'c5', number, 'bad'), num('503', 'r503', number, 'bad'), num('p50', 'p50', took), num('p99', 'p99', took),
		num('In', 'in', bytes), num('Out', 'out', bytes), num('Aborted', 'aborts', number, '', 'calls whose client went away'),
	], { key: (r) => r.name, busy: (r) => r.all + r.flight, none: 'There are no routes.' });
	return () => {
		const chains = new Map(state.stats.chains.map((c) => [c.route, c]));
		draw(state.stats.routes.filter((r) => r.route !== '_none' || r.requests.length).map((r) => routeRow(r, chains)));
	};
});
