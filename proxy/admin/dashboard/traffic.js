// traffic.js - charts of the last minutes.

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

panel('traffic', 'Traffic', (section) => {
	const box = el('div', { class: 'charts' });
	section.append(box);
	const perSecond = chart(box, 'Requests per second', ['requests'], number);
	const answers = chart(box, 'Answers per second', ['2xx', '3xx', '4xx', '5xx', 'no answer'], number);
	const refusals = chart(box, '429 and 503 per second', ['429', '503'], number);
	const duration = chart(box, 'Duration', ['p50', 'p95', 'p99'], took, 0.001);
	const added = chart(box, 'Latency added by Weir', ['p50', 'p95', 'p99'], took, 0.0001);
	const flight = chart(box, 'Under way', ['calls', 'connections'], number, 5);
	return () => {
		const s = state.stats, by = classes(s.routes), at = readAt;
		const r = Object.fromEntries(Object.entries(by).map(([k, v]) => [k, rate('all ' + k, v)]));
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
