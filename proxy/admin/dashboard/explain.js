// explain.js - what the policy in force would make of a request.  It takes nothing.

const explainField = (id, label, attrs, long) => [
	el('label', { for: 'explain-' + id }, label),
	el('input', { id: 'explain-' + id, name: id, spellcheck: 'false', class: long ? 'long' : '', ...attrs }),
];

// "name: value" lines; a name that comes again gets a list.
function readHeaders(text) {
	const out = {};
	for (const line of text.split('\n').filter((l) => l.trim())) {
		const at = line.indexOf(':');
		if (at < 1) throw new Error(`a header is "name: value", not ${JSON.stringify(line)}`);
		const name = line.slice(0, at).trim().toLowerCase();
		(Object.hasOwn(out, name) ? out[name] : out[name] = []).push(line.slice(at + 1).trim());
	}
	return out;
}

function outcomeText(o) {
	if (o.decision === 'deny') return `refused with ${o.status}: ${o.reason}${o.policy ? ` by ${o.policy}` : ''}${o.retry_after_ms ? `; again in ${took(o.retry_after_ms / 1000)}` : ''}`;
	if (o.decision === 'respond') return `answered by the route with ${o.status}${o.location ? ', to ' + o.location : ''}`;
	return `goes to ${o.upstream}${o.delay_ms ? ` after ${took(o.delay_ms / 1000)}` : ''}${o.upstream_path ? ` as ${o.upstream_path}` : ''}`;
}

function policySays(p) {
	if (!p.asked) return 'not asked: one before it refuses';
	return `${p.shadow ? 'shadow: ' : ''}${p.decision.replace('_', ' ')}${p.reason ? ': ' + p.reason : ''}${p.wait_ms ? `, again in ${took(p.wait_ms / 1000)}` : ''}`;
}

panel('explain', 'Explain a request', (section) => {
	const method = el('select', { id: 'explain-method', name: 'method' }, ...['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'].map((m) => el('option', {}, m)));
	const area = el('textarea', { id: 'explain-headers', class: 'long', rows: '2', spellcheck: 'false', placeholder: 'x-user: alice' });
	const form = el('form', { class: 'form' }, el('label', { for: 'explain-method' }, 'Method'), method,
		...explainField('path', 'Path', { required: true, value: '/', maxlength: '8000' }),
		...explainField('host', 'Host', { placeholder: 'localhost' }), ...explainField('client', 'Client', { placeholder: '127.0.0.1' }),
		el('label', { for: 'explain-headers' }, 'Headers'), area, el('span'), el('div', {}, el('button', { class: 'main' }, 'Explain')));
	const says = el('p', { role: 'status' });
	const routes = el('p', { class: 'quiet' });
	const needs = el('p', { class: 'quiet', hidden: true }, 'To ask needs the admin token.');
	const result = el('div', { hidden: true }, routes);
	section.append(el('p', { class: 'quiet' }, 'What would become of it now. Nothing is counted, and nothing is sent.'), needs, form, says, result);
	const draw = table(result, 'Each policy of the route, asked in this order', [
		{ head: 'Policy', get: (p) => p.name },
		{ head: 'Rule', get: (p) => `${p.kind} ${p.rule}` },
		{ head: 'Says', get: policySays, kind: (p) => (p.asked && p.decision === 'deny' ? 'bad' : '') },
		{ head: 'Key', class: 'mono', get: (p) => p.key_hash || '–' },
		{ head: 'Left', num: true, get: (p) => (p.limit === undefined ? '–' : `${number(p.remaining)} of ${number(p.limit)}`) },
	], { key: (p) => p.name, none: 'The route has no policies.' });

	function show(e) {
		const o = e.outcome;
		says.replaceChildren(badge(o.decision === 'deny' ? 'bad' : 'good', o.decision), plain(` ${e.route ? `Route ${e.route}` : 'No route'}: ${outcomeText(o)}.`));
		const not = e.routes.filter((r) => !r.takes);
		setText(routes, not.length ? 'Looked at before: ' + not.slice(0, 20).map((r) => `${r.name} (its ${r.differs} differs)`).join(', ') + (not.length > 20 ? ` and ${not.length - 20} more` : '') : '');
		result.hidden = false;
		draw(e.policies || []);
	}
	let asked = 0;
	form.addEventListener('submit', async (ev) => {
		ev.preventDefault();
		const mine = ++asked;
		try {
			const body = { method: method.value, path: form.elements.path.value };
			for (const k of ['host', 'client']) if (form.elements[k].value) body[k] = form.elements[k].value;
			if (area.value.trim()) body.headers = readHeaders(area.value);
			const e = await ask('/explain', { method: 'POST', body });
			if (mine === asked) show(e); // else it is of what was asked before
		} catch (e) {
			if (mine !== asked) return;
			result.hidden = true;
			says.replaceChildren(badge('bad', 'error'), plain(' ' + e.message));
			if (e.status === 401) askToken(token ? 'This token is not accepted.' : 'To explain needs the token.');
		}
	});
	return () => (needs.hidden = !state.stats.admin.token || Boolean(token));
});
