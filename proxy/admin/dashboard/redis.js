// redis.js - what limits that replicas share get from Redis.

panel('redis', 'Redis', (section) => {
	const box = el('div');
	const draw = table(section, 'What became of its operations', [
		{ head: 'Operations', get: (r) => r.name },
		{ head: 'per second', num: true, get: (r) => number(r.rate) },
		{ head: 'in all', num: true, get: (r) => number(r.n) },
	], { key: (r) => r.name, none: 'No Redis is configured: limits are counted by this process alone.' });
	section.insertBefore(box, section.children[1]);
	return () => {
		const r = state.stats.redis;
		const known = ['up', 'peers', 'keys', 'keys_without_it', 'took'];
		setChildren(box, !r ? [] : [r.up ? badge('good', 'up') : badge('bad', 'gone'),
			el('span', {}, ` ${plural(r.peers, 'replica')} share limits; ${plural(r.keys, 'key')}, ${number(r.keys_without_it)} of them decided without it; ` +
				`answers took p50 ${took(r.took.p50)}, p99 ${took(r.took.p99)} since the start`)]);
		draw(!r ? [] : Object.keys(r).filter((k) => !known.includes(k)).map((name) => ({ name, n: r[name], rate: rate('redis ' + name, r[name]) })));
	};
});
