// routes.js - routes, and the policies that they ask, in order.

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
