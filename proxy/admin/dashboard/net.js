// net.js - questions to the admin listener, and orders.
//
// The token is kept in this page's memory; in the tab's storage only when asked to.

const TIMEOUT_MS = 10000;
const TOKEN_KEY = 'weir-admin-token';
let token = sessionStorage.getItem(TOKEN_KEY) || '';

function headers(more) {
	return token ? { ...more, Authorization: 'Bearer ' + token } : { ...more };
}

class Refused extends Error {
	constructor(status, body) {
		super(typeof body === 'string' ? body.trim() : body.error || body.message || JSON.stringify(body));
		this.status = status;
		this.body = body;
	}
}

// What is there, parsed if it is JSON.  Throws Refused when the answer is none of `fine`.
async function ask(path, { method = 'GET', body, fine = [200] } = {}) {
	const abort = new AbortController();
	const timer = setTimeout(() => abort.abort(new Error('no answer within 10 s')), TIMEOUT_MS);
	try {
		const r = await fetch(path, {
			method, cache: 'no-store', signal: abort.signal, credentials: 'omit',
			headers: headers(method === 'GET' ? {} : { 'Content-Type': 'application/json' }),
			body: body === undefined ? undefined : JSON.stringify(body),
		});
		const text = await r.text();
		const json = (r.headers.get('Content-Type') || '').startsWith('application/json');
		const value = json ? JSON.parse(text) : text;
		if (!fine.includes(r.status)) throw new Refused(r.status, value);
		return value;
	} finally {
		clearTimeout(timer);
	}
}

const part = encodeURIComponent;

function say(text, bad) {
	const said = byId('said');
	said.hidden = !text;
	setClass(said, bad ? 'banner bad' : 'banner');
	said.replaceChildren(el('span', { tabindex: text.includes('\n') ? 0 : null }, text), el('button', { onclick: () => say('') }, 'Dismiss'));
}

// Gives an order; says what became of it; looks again at once.
async function order(what, path, options, tell) {
	try {
		const answer = await ask(path, options);
		say(`${what}: ${tell(answer)}`, answer.reloaded === false);
	} catch (e) {
		if (e.status === 401) askToken(token ? 'This token is not accepted.' : 'Orders need the token.');
		say(`${what}: ${e.message || 'failed'}`, true);
	}
	pollNow();
}

// Resolves to { for } when it is meant, else to null.
function sure({ title, text, yes, time }) {
	const d = byId('sure');
	setText(byId('sure-title'), title);
	setText(byId('sure-text'), text);
	setText(byId('sure-yes'), yes);
	byId('sure-time').hidden = !time;
	d.returnValue = '';
	d.showModal();
	return new Promise((done) => {
		d.onclose = () => done(d.returnValue === 'yes' ? { for: byId('sure-for').value } : null);
	});
}

const lasting = (answer, more) => (answer.for ? { ...more, for: answer.for } : more);

/*------------------------------------------------------------------ the token */

function askToken(why) {
	byId('token-form').hidden = false;
	byId('token-forget').hidden = !token;
	setText(byId('token-says'), why ? `${signs.bad} ${why}` : '');
	byId('token').setAttribute('aria-invalid', why ? 'true' : 'false');
	byId('token').focus();
}

function dropToken() {
	token = '';
	sessionStorage.removeItem(TOKEN_KEY);
}

byId('token-form').addEventListener('submit', (e) => {
	e.preventDefault();
	token = byId('token').value.trim();
	if (/[^\x21-\x7e]/.test(token)) {
		dropToken();
		askToken('A token has no spaces, and letters of ASCII only.');
		return;
	}
	if (byId('token-keep').checked) sessionStorage.setItem(TOKEN_KEY, token);
	byId('token').value = '';
	byId('token-form').hidden = true;
	restart();
});
byId('token-forget').addEventListener('click', () => {
	dropToken();
	byId('token-form').hidden = true;
	restart();
});
byId('token-open').addEventListener('click', () => askToken(''));
