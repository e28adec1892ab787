// overview.js - the head of the page, and what needs attention.

function badges() {
	const s = state.stats, h = state.health, list = [];
	const forced = state.breakers.filter((b) => b.forced).length;
	const told = s.upstreams.flatMap((u) => u.endpoints).filter((e) => e.state === 'drain' || e.state === 'down').length;
	const left = (o) => (o && o.left ? `, ${span(o.left)} left` : '');

	if (h) list.push(badge({ healthy: 'good', degraded: 'warn' }[h.status] || 'bad', h.status));
	if (s.draining) list.push(badge('warn', (s.drained_by_order ? 'draining by order' : 'shutting down') + left(state.drain)));
	else list.push(s.ready ? badge('good', 'ready') : badge('bad', 'not ready'));
	if (s.memory && s.memory.refusing) list.push(badge('bad', 'memory short: new calls are refused'));
	if (forced) list.push(badge('warn', `${plural(forced, 'breaker')} forced`));
	if (told) list.push(badge('warn', `${plural(told, 'endpoint')} out by order`));
	if (state.level && state.level.forced) list.push(badge('warn', `log level ${state.level.level} by order${left(state.level)}`));
	if (state.readOnly) list.push(badge('quiet', 'read only', s.admin.token ? 'Orders need the admin token' : 'Orders from here need admin.token; weir ctl gives them without'));
	return list;
}

function reloadFact() {
	const c = state.stats.config;
	const n = c.reloads_ok + c.reloads_failed;

	if (!c.last_reload_ok) return badge('bad', `failed (${plural(c.reloads_failed, 'time')}); the configuration of ${clock(new Date(c.last_reload_time * 1000))} stays`);
	return badge('good', `${n ? 'took effect' : 'none since the start at'} ${clock(new Date(c.last_reload_time * 1000))}`);
}

function fact(name, value, wide) {
	return el('div', { class: wide ? 'wide' : '' }, el('dt', {}, name), el('dd', {}, value));
}

function drawHeader() {
	const s = state.stats, p = s.process;
	const open = s.listeners.reduce((sum, l) => sum + l.active, 0);
	const list = [
		fact('Up', span(s.now - s.start_time)),
		fact('Configuration', el('span', { class: 'mono', title: s.config.sha256 }, s.config.sha256.slice(0, 12) + `, generation ${s.config.generation}`)),
		fact('Last reload', reloadFact()),
		fact('Connections', number(open)),
		fact('Workers', number(s.workers)),
		fact('Memory', bytes(p.resident_bytes) + (s.memory && s.memory.limit_bytes ? `; ${bytes(s.memory.used_bytes)} of ${bytes(s.memory.limit_bytes)} here` : '')),
		fact('Descriptors', `${number(p.open_fds)} of ${number(p.max_fds)}`),
		fact('Loop lag p99', took(s.loop_lag.p99)),
		fact('Log lines lost', number(s.log_lines_dropped)),
	];
	if (!s.config.last_reload_ok && state.reloadError) list.push(fact('Why it failed', el('span', { class: 'bad mono', id: 'reload-error' }, state.reloadError), true));
	setText(byId('version'), s.version);
	setChildren(byId('badges'), badges());
	setChildren(byId('facts'), list);
	for (const id of ['reload', 'drain']) byId(id).hidden = state.readOnly;
	byId('token-open').hidden = !s.admin.token;
	setText(byId('drain'), s.drained_by_order ? 'End drain…' : 'Drain…');
	document.title = `Weir: ${state.health ? state.health.status : 'up'}${s.draining ? ', draining' : ''}`;
}

panel('attention', 'Needs attention', (section) => {
	const list = el('ul', { class: 'problems' });
	section.append(el('div', { role: 'status' }, list));
	return () => {
		const bad = state.health ? state.health.checks.filter((c) => c.status !== 'healthy') : [];
		const items = bad.map((c) => el('li', {}, badge(c.status === 'degraded' ? 'warn' : 'bad', c.status), ` ${c.name}: ${c.message}`));
		if (state.stats.log_lines_dropped) items.push(el('li', {}, badge('warn', 'log'), ` ${plural(state.stats.log_lines_dropped, 'line')} lost so far: whoever reads the log is too slow`));
		for (const p of state.stats.policies) if (p.shadow && p.shadow_deny) items.push(el('li', {}, badge('quiet', 'shadow'), ` ${p.policy} only counts: it would have refused ${plural(p.shadow_deny, 'call')} so far`));
		if (!items.length) items.push(el('li', {}, badge('good', 'nothing'), ' All checks pass.'));
		setChildren(list, items);
	};
});

// Why a reload failed, a line each: where, and what.
function findings(list) {
	return (list || []).filter((d) => d.severity === 'error').map((d) => `${d.severity} ${d.code}: ${d.file}:${d.line}:${d.column}: ${d.message}`).join('\n');
}

byId('reload').addEventListener('click', async () => {
	if (!await sure({ title: 'Reload the configuration?', text: 'The file is read again. With an error in it, the running configuration stays.', yes: 'Reload' })) return;
	await order('Reload', '/reload', { method: 'POST', body: {}, fine: [200, 422] }, (r) =>
		r.reloaded ? `took effect, ${plural(r.changes.length, 'change')}` : `failed, the running configuration stays\n${findings(r.diagnostics)}`);
});

byId('drain').addEventListener('click', async () => {
	if (state.stats.drained_by_order) {
		if (await sure({ title: 'End the drain?', text: 'Weir is ready again, and connections are kept.', yes: 'End drain' }))
			await order('Drain', '/drain', { method: 'DELETE' }, () => 'over');
		return;
	}
	const yes = await sure({ title: 'Drain this Weir?', text: 'It is no longer ready, and connections are closed after their call.', yes: 'Drain', time: true });
	if (yes) await order('Drain', '/drain', { method: 'POST', body: lasting(yes, {}) }, () => 'begun');
});
