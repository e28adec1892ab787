// policies.js - how policies decide, whom they refuse most, and how full those are that count calls.

function policyRow(p) {
	const at = (what) => rate(`policy ${p.policy} ${what}`, p[what]);
	return { ...p, allowed: at('allow'), refused: at('deny'), shadowed: at('shadow_deny'), skipped: at('skip') };
}

panel('policies', 'Policies', (section) => {
	const num = (head, key, kind, title) => ({ head, num: true, title, get: (p) => number(p[key]), kind: (p) => p[key] ? kind : 'zero' });
	const draw = table(section, 'Decisions; shadow: would have been refused', [
		{ head: 'Policy', get: (p) => p.policy },
		{ head: 'Kind', get: (p) => p.kind + (p.shadow ? ', shadow' : '') },
		num('Allowed/s', 'allowed'), num('Refused/s', 'refused', 'warn'), num('Shadow/s', 'shadowed', 'warn'), num('Skipped/s', 'skipped'),
		num('Refused in all', 'deny'), num('Shadow in all', 'shadow_deny'), num('Keys tracked', 'keys'),
		num('Keys pushed out', 'evictions', 'warn', 'keys that were forgotten for want of room: their limits begin anew'),
	], { key: (p) => p.policy, busy: (p) => p.refused * 1000 + p.allowed, none: 'There are no policies.' });
	return () => draw(state.stats.policies.map(policyRow));
});

async function resetKey(row) {
	const yes = await sure({ title: 'Reset this key?', text: `${row.policy}: key ${row.hash} gets its whole limit back.`, yes: 'Reset' });
	if (yes)
		await order(`Key ${row.hash} of ${row.policy}`, `/limits/${part(row.policy)}/key?hash=${part(row.hash)}`, { method: 'DELETE' },
			(k) => `reset, ${number(k.remaining)} of ${number(k.limit)} left`);
}

panel('keys', 'Refused most', (section) => {
	const draw = table(section, 'Keys by their hashes, as in the access log', [
		{ head: 'Policy', get: (k) => k.policy + (k.shadow ? ' (shadow)' : '') },
		{ head: 'Key', class: 'mono', get: (k) => (k.by ? k.hash : 'all calls') },
		{ head: 'Counted by', class: 'nowrap', get: (k) => k.by || '–' },
		{ head: 'Refused', num: true, get: (k) => (k.error ? '≤ ' : '') + number(k.refused), title: 'of late; ≤: at most, as not all keys are counted' },
		{ head: 'Within', num: true, get: (k) => span(k.window) },
		{ head: 'Order', make: (row) => [el('button', { onclick: () => resetKey(row()) }, 'Reset')] },
	], { key: (k) => k.policy + '\n' + k.hash, busy: (k) => k.refused, none: 'Nobody was refused of late.' });
	return () => draw(state.limits.flatMap((l) => (l.top || []).map((k) =>
		({ ...k, policy: l.policy, shadow: l.shadow, by: l.key, window: l.window, fixed: !l.resettable }))));
}, true);

panel('concurrency', 'Concurrency', (section) => {
	const box = el('div', { class: 'bars' });
	const bars = new Map();
	section.append(box);
	function barOf(p) {
		const fill = el('i'), meter = el('div', { class: 'meter', role: 'meter', 'aria-label': p.policy, 'aria-valuemin': '0' }, fill), says = el('span');
		const row = el('div', { class: 'bar' }, el('span', {}, p.policy), meter, says);
		box.append(row);
		return { row, fill, meter, says };
	}
	return () => {
		const rows = state.stats.policies.filter((p) => p.limit !== undefined).slice(0, ROWS_MAX);
		for (const [name, b] of bars) if (!rows.some((p) => p.policy === name)) { b.row.remove(); bars.delete(name); }
		for (const p of rows) {
			if (!bars.has(p.policy)) bars.set(p.policy, barOf(p));
			const b = bars.get(p.policy), full = p.in_use >= p.limit;
			b.fill.style.width = `${Math.min(100, p.limit ? p.in_use * 100 / p.limit : 100)}%`;
			setClass(b.meter, full ? 'meter full' : 'meter');
			b.meter.setAttribute('aria-valuemax', Math.max(p.limit, p.in_use, 1));
			b.meter.setAttribute('aria-valuenow', p.in_use);
			setText(b.says, `${number(p.in_use)} of ${number(p.limit)} in use${full ? ', full' : ''}; ${number(p.queued || 0)} queued (most ${number(peak('queue ' + p.policy, p.queued))})`);
		}
		if (!rows.length) { setText(box, 'No policy counts calls under way.'); setClass(box, 'quiet'); bars.clear(); }
		else if (box.className === 'quiet') { box.firstChild.remove(); setClass(box, 'bars'); }
	};
}, true);
