// breakers.js - circuit breakers, and orders to them.

const breakerSigns = { closed: '●', open: '■', half_open: '◐' };
const breakerKinds = { closed: 'good', open: 'bad', half_open: 'warn' };
const breakerName = (b) => `${b.policy} for ${b.upstream}${b.endpoint ? ' ' + b.endpoint : ''}`;

function breakerState(b) {
	const kind = breakerKinds[b.state] || 'warn';
	const list = [el('span', { class: kind }, `${breakerSigns[b.state] || '◐'} ${b.state.replace('_', ' ')}`)];
	if (b.forced) list.push(el('span', {}, ' '), badge('warn', 'forced' + (b.left ? `, ${span(b.left)} left` : '')));
	else if (b.left) list.push(el('span', { class: 'quiet' }, `, ${span(b.left)} left`));
	return list;
}

const breakerOrders = {
	open: ['Open', 'Force it open?', 'Calls are refused with 503 at once, and nothing reaches the upstream.'],
	closed: ['Close', 'Force it closed?', 'Calls go through whatever becomes of them: nothing guards the upstream.'],
	auto: ['Auto', 'Let it decide by itself?', 'It opens and closes by what becomes of calls.'],
};

async function orderBreaker(b, to) {
	const [, title, text] = breakerOrders[to];
	const yes = await sure({ title, text: `${breakerName(b)}. ${text}`, yes: breakerOrders[to][0], time: to !== 'auto' });
	const path = ['/breakers', part(b.policy), part(b.upstream), ...(b.endpoint ? [part(b.endpoint)] : [])].join('/');
	if (yes)
		await order(`Breaker ${breakerName(b)}`, path, { method: 'PUT', body: to === 'auto' ? { state: to } : lasting(yes, { state: to }) },
			() => (to === 'auto' ? 'by itself again' : `forced ${to}${yes.for ? ` for ${yes.for}` : ''}`));
}

panel('breakers', 'Breakers', (section) => {
	const draw = table(section, 'Failures among the calls of each window', [
		{ head: 'Policy', get: (b) => b.policy },
		{ head: 'Upstream', get: (b) => b.upstream + (b.endpoint ? ' ' + b.endpoint : '') },
		{ head: 'State', get: breakerState },
		{ head: 'Since', num: true, get: (b) => (b.since === null ? 'the start' : span(b.since)) },
		{ head: 'Failures', num: true, get: (b) => `${percent(b.failures, b.calls)} (${number(b.failures)} of ${number(b.calls)})`, kind: (b) => (b.failures ? 'warn' : 'zero') },
		{ head: 'Slow', num: true, get: (b) => number(b.slow), kind: (b) => (b.slow ? 'warn' : 'zero') },
		{ head: 'In a row', num: true, get: (b) => number(b.in_a_row) },
		{ head: 'Orders', make: (row) => Object.keys(breakerOrders).map((to) =>
			el('button', { onclick: () => orderBreaker(row(), to), 'aria-label': `${breakerOrders[to][0]} breaker ${breakerName(row())}` }, breakerOrders[to][0])) },
	], { key: (b) => JSON.stringify([b.policy, b.upstream, b.endpoint]), busy: (b) => (b.state === 'closed' ? 0 : 1e9) + b.failures, none: 'No policy is a breaker.' });
	return () => draw(state.breakers);
});
