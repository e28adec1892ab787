// table.js - a table whose rows stay when their numbers change: focus and selection stay, too.
//
//	const draw = table(parent, 'caption', [
//		{ head: 'Policy', get: (row) => row.policy },
//		{ head: 'Refused/s', num: true, get: (row) => number(row.deny), kind: (row) => 'bad' },
//		{ head: 'Orders', make: (row) => element },         row(): the row as it is now
//	], { key: (row) => row.policy, busy: (row) => row.rate, none: 'no policies' });
//	draw(rows);
//
// A row with `sum` is one of totals; one that is `fixed` takes no orders.  `get` gives a text, or elements in an array.  Of more rows than `max`, ROWS_MAX unless told, the busiest are
// shown, in their order, and a filter asks for others.

const ROWS_MAX = 50;

function tableRow(columns, row) {
	const tr = el('tr');
	tr.row = row;
	columns.forEach((c, i) => {
		const cell = el(i === 0 ? 'th' : 'td', { scope: i === 0 ? 'row' : null });
		if (c.make) cell.append(...c.make(() => tr.row));
		tr.append(cell);
	});
	return tr;
}

function fillRow(columns, tr, row) {
	tr.row = row;
	setClass(tr, row.sum ? 'sum' : '');
	columns.forEach((c, i) => {
		const cell = tr.children[i];
		if (c.make) {
			setClass(cell, 'tools-cell');
			for (const b of cell.children) b.hidden = state.readOnly || Boolean(row.fixed);
			return;
		}
		const value = c.get(row);
		setClass(cell, (c.num ? 'num ' : '') + (c.class || '') + ' ' +
			(c.kind ? c.kind(row) || '' : c.num && (value === '0' || value === '–') ? 'zero' : ''));
		if (Array.isArray(value)) setChildren(cell, value);
		else setText(cell, String(value));
	});
}

// Those that are shown, in their order.
function chosenRows(rows, filter, busy, max) {
	const wanted = filter ? rows.filter((r) => JSON.stringify(r).toLowerCase().includes(filter)) : rows;
	if (wanted.length <= max) return wanted;
	const top = wanted.map((row, i) => [busy ? busy(row) || 0 : 0, i]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
	return top.slice(0, max).map((x) => x[1]).sort((a, b) => a - b).map((i) => wanted[i]);
}

function table(parent, caption, columns, { key, busy, none, max = ROWS_MAX }) {
	const input = el('input', { type: 'search', 'aria-label': 'Filter: ' + caption, placeholder: 'filter' });
	const says = el('span', { class: 'quiet' });
	const tools = el('div', { class: 'tools', hidden: true }, input, says);
	const head = el('tr', {}, ...columns.map((c) => el('th', { scope: 'col', class: c.num ? 'num' : '', title: c.title }, c.head)));
	const body = el('tbody');
	const scroll = el('div', { class: 'scroll', role: 'region', 'aria-label': caption },
		el('table', {}, el('caption', {}, caption), el('thead', {}, head), body));
	const empty = el('p', { class: 'quiet' }, none);
	const known = new Map();
	let all = [];

	function draw(rows) {
		const shown = chosenRows(all = rows, input.value.trim().toLowerCase(), busy, max);
		const keys = new Set(shown.map(key));
		for (const [k, tr] of known) if (!keys.has(k)) { tr.remove(); known.delete(k); }
		let at = body.firstChild;
		for (const row of shown) {
			const k = key(row);
			let tr = known.get(k);
			if (!tr) known.set(k, tr = tableRow(columns, row));
			fillRow(columns, tr, row);
			if (tr === at) at = at.nextSibling;
			else body.insertBefore(tr, at);
		}
		tools.hidden = rows.length <= 12 && !input.value;
		setText(says, shown.length === rows.length ? plural(rows.length, 'row') :
			`${shown.length} of ${rows.length}` + (input.value ? '' : ': the busiest; filter for others'));
		empty.hidden = rows.length > 0;
		scroll.hidden = rows.length === 0;
	}
	// what scrolls can be reached by the keyboard, the rest is no stop on its way
	onResize(body, () => {
		scroll.tabIndex = scroll.scrollWidth > scroll.clientWidth || scroll.scrollHeight > scroll.clientHeight ? 0 : -1;
	});
	input.addEventListener('input', () => draw(all));
	parent.append(tools, scroll, empty);
	return draw;
}
