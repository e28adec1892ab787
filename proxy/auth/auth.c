/* auth.c - from a head to an identity, and what is told to those who have none. */
#include "auth/auth.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "auth/allow.h"
#include "auth/cache.h"
#include "auth/file.h"
#include "base/check.h"
#include "http/scan.h"

enum { HASH_BYTES = 32, HEADER_VALUE_MAX = 1024 };

#define AUTH_MAGIC 0x57415554u

struct auth {
	uint32_t magic;
	const struct auth_conf *conf;
	struct jwt_rules rules;
	struct allow_list allow;
	EVP_MD *sha256;
};

struct auth_worker {
	const struct auth *auth;
	struct token_cache *cache;
	EVP_MD_CTX *digest;
};

const char *const auth_method_names[AUTH_METHODS] = {
	[AUTH_JWT] = "jwt", [AUTH_API_KEY] = "api_key"
};

enum { JWT = 1 << AUTH_JWT, KEY = 1 << AUTH_API_KEY, BOTH = JWT | KEY };

const struct auth_outcome_row auth_outcomes[AUTH_OUTCOMES] = {
#define O(outcome, reason, whose, said) [AUTH_##outcome] = { #outcome, whose, said },
#include "auth/outcome.def"
#undef O
};

const struct reason *auth_reason(enum auth_outcome outcome)
{
	static const uint8_t reasons[AUTH_OUTCOMES] = {
#define O(outcome, reason, whose, said) [AUTH_##outcome] = REASON_##reason,
#include "auth/outcome.def"
#undef O
	};

	return &reason_table[reasons[outcome]];
}

/*---------------------------------------------------------------- open and close */

static unsigned algs_of(const struct conf_list *names)
{
	const char *const *name = names->item;
	unsigned algs = names->n == 0 ? (1u << JWS_ALGS) - 1 : 0;

	for (uint32_t i = 0; i < names->n; i++)
		for (unsigned k = 0; k < JWS_ALGS; k++)
			if (strcmp(name[i], jws_alg_names[k]) == 0)
				algs |= 1u << k;
	return algs;
}

static bool open_jwks(struct auth *a, struct arena *arena, struct diags *diags)
{
	const struct jwt_conf *conf = &a->conf->jwt;
	struct arena scratch;
	struct slice text;
	bool ok;

	if (conf->jwks == NULL)
		return true;
	arena_init(&scratch, NULL);
	ok = auth_file_read(conf->jwks, JWKS_BYTES_MAX, conf->jwks_at, &scratch, diags, &text) &&
	     jwks_read(&a->rules.keys, text, conf->jwks, conf->jwks_at, arena, diags);
	arena_fini(&scratch);
	return ok;
}

/* Whether a key is left that may verify anything. */
static bool check_algs(const struct auth *a, struct diags *diags)
{
	unsigned algs = 0;

	for (uint32_t i = 0; i < a->rules.keys.n; i++)
		algs |= a->rules.keys.key[i].algs;
	if (a->conf->jwt.jwks == NULL || (algs & a->rules.algs))
		return true;
	diag_error(diags, a->conf->jwt.jwks_at, "E043",
		   "%s: no key in it is for any of the `algorithms`", a->conf->jwt.jwks);
	return false;
}

struct auth *auth_open(const struct auth_conf *conf, struct arena *arena, struct diags *diags,
		       bool *ok)
{
	struct auth *a;

	*ok = true;
	if (conf->jwt.jwks == NULL && conf->api_key.from.header == NULL)
		return NULL;
	a = calloc(1, sizeof(*a));
	*ok = a != NULL;
	if (a == NULL) {
		diags_out_of_memory(diags);
		return NULL;
	}
	a->magic = AUTH_MAGIC;
	a->conf = conf;
	a->rules.conf = &conf->jwt;
	a->rules.algs = algs_of(&conf->jwt.algorithms);
	a->sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	*ok = open_jwks(a, arena, diags) && check_algs(a, diags);
	*ok = allow_list_open(&a->allow, &conf->api_key, diags) && *ok;
	if (a->sha256 == NULL)
		diags_out_of_memory(diags);
	if (*ok && a->sha256 != NULL)
		return a;
	*ok = false;
	auth_close(a);
	return NULL;
}

void auth_close(struct auth *a)
{
	if (a == NULL)
		return;
	CHECK_MAGIC(a, AUTH_MAGIC);
	a->magic = 0;
	jwks_fini(&a->rules.keys);
	allow_list_fini(&a->allow);
	EVP_MD_free(a->sha256);
	free(a);
}

void auth_files(const struct auth_conf *conf, void (*visit)(void *, const char *), void *arg)
{
	if (conf->jwt.jwks != NULL)
		visit(arg, conf->jwt.jwks);
	allow_list_files(&conf->api_key, visit, arg);
}

struct auth_worker *auth_worker_new(const struct auth *a)
{
	struct auth_worker *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->auth = a;
	w->digest = EVP_MD_CTX_new();
	if (a->conf->jwt.jwks != NULL)
		w->cache = token_cache_new(a->conf->jwt.cache);
	if (w->digest != NULL)
		return w;
	auth_worker_free(w);
	return NULL;
}

void auth_worker_free(struct auth_worker *w)
{
	if (w == NULL)
		return;
	token_cache_free(w->cache);
	EVP_MD_CTX_free(w->digest);
	free(w);
}

/*---------------------------------------------------------------- finding */

/* What stands behind the scheme; n == 0: the field is of another scheme. */
static struct slice behind_scheme(struct slice value, const char *scheme)
{
	struct slice rest = value, first;

	if (scheme == NULL)
		return value;
	first = slice_cut(&rest, ' ');
	if (rest.p == NULL || !slice_ieq(first, slice_str(scheme)))
		return slice_of(NULL, 0);
	return slice_trim(rest);
}

/* AUTH_ok: *out is the only one. */
static enum auth_outcome find(const struct credential_conf *from, const struct head *h,
			      struct slice *out)
{
	struct slice name = slice_str(from->header);
	enum field_id id = field_lookup(name);
	unsigned n = 0;

	*out = slice_of(NULL, 0);
	for (uint16_t i = 0; i < h->n; i++) {
		const struct header *f = &h->fields[i];

		if (f->id != id || (id == F_OTHER && !slice_ieq(f->name, name)))
			continue;
		if (n++ > 0)
			return AUTH_repeated;
		*out = behind_scheme(f->value, from->scheme);
	}
	return out->n > 0 ? AUTH_ok : AUTH_missing;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcasecmp(a, b) == 0);
}

bool auth_is_shared(const struct auth_conf *c)
{
	return c->jwt.jwks != NULL && c->api_key.from.header != NULL &&
	       same_text(c->jwt.from.header, c->api_key.from.header) &&
	       same_text(c->jwt.from.scheme, c->api_key.from.scheme);
}

/* Three parts, of which the first begins as every JSON object does in base64. */
static bool looks_like_jwt(struct slice s)
{
	static const struct slice brace = SLICE("eyJ");
	unsigned dots = 0;

	for (size_t i = 0; i < s.n; i++)
		dots += s.p[i] == '.';
	return dots == 2 && slice_starts(s, brace);
}

/*---------------------------------------------------------------- verifying */

struct check {
	struct auth_worker *worker;
	const struct auth_rule *rule;
	const struct head *head;
	uint64_t wall_ns;
	struct arena *scratch;
	struct auth_result *result;
};

static bool hash(struct auth_worker *w, struct slice s, uint8_t out[HASH_BYTES])
{
	return EVP_DigestInit_ex2(w->digest, w->auth->sha256, NULL) &&
	       EVP_DigestUpdate(w->digest, s.p, s.n) && EVP_DigestFinal_ex(w->digest, out, NULL);
}

static enum auth_outcome verify_token(const struct check *k, struct slice text)
{
	struct auth_worker *w = k->worker;
	struct auth_result *r = k->result;
	enum auth_outcome out;
	uint8_t digest[HASH_BYTES];

	if (text.n > w->auth->conf->jwt.max_bytes)
		return AUTH_malformed;
	if (w->cache != NULL && !hash(w, text, digest))
		return AUTH_failed;
	r->token = token_cache_get(w->cache, digest, k->wall_ns);
	if (w->cache != NULL)
		r->cached = r->token != NULL ? AUTH_HIT : AUTH_MISS;
	if (r->token != NULL)
		return r->token->granted ? AUTH_ok : AUTH_denied;
	out = jwt_check(&w->auth->rules, text, k->wall_ns, k->scratch, &r->token);
	if (r->token != NULL)
		token_cache_add(w->cache, digest, r->token);
	return out;
}

static enum auth_outcome check_token(const struct check *k, struct slice text)
{
	struct auth_result *r = k->result;
	enum auth_outcome out = verify_token(k, text);

	if (out == AUTH_ok) {
		r->who.n = r->token->n;
		r->who.claim = r->token->claim;
	}
	return out;
}

static enum auth_outcome check_key(const struct check *k, struct slice text)
{
	static const char digits[] = "0123456789abcdef";
	const struct auth *a = k->worker->auth;
	struct auth_result *r = k->result;
	uint8_t digest[HASH_BYTES];

	if (!hash(k->worker, text, digest))
		return AUTH_failed;
	if (!allow_list_has(&a->allow, digest))
		return AUTH_unknown;
	for (unsigned i = 0; i < HASH_BYTES; i++) {
		r->hash[2 * i] = digits[digest[i] >> 4];
		r->hash[2 * i + 1] = digits[digest[i] & 15];
	}
	r->who.api_key = slice_of(r->hash, sizeof(r->hash));
	return AUTH_ok;
}

static const struct {
	enum identity_kind kind;
	enum auth_outcome (*check)(const struct check *, struct slice);
} methods[AUTH_METHODS] = {
	[AUTH_JWT] = { IDENTITY_JWT, check_token },
	[AUTH_API_KEY] = { IDENTITY_API_KEY, check_key },
};

static const struct credential_conf *place_of(const struct auth_conf *c, enum auth_method m)
{
	return m == AUTH_JWT ? &c->jwt.from : &c->api_key.from;
}

/* Of a field that both kinds come in: whether what is sent is of this one.  Where every key will
 * do, a token that was verified is one, too. */
static bool is_of(const struct check *k, enum auth_method m, struct slice text)
{
	const struct auth_result *r = k->result;
	bool token = looks_like_jwt(text);

	if (m == AUTH_JWT || !token)
		return token == (m == AUTH_JWT);
	return k->worker->auth->allow.any && (r->looked & JWT) && r->outcome[AUTH_JWT] == AUTH_ok;
}

static enum auth_outcome check_method(const struct check *k, enum auth_method m)
{
	const struct auth_conf *conf = k->worker->auth->conf;
	const uint8_t both = IDENTITY_JWT | IDENTITY_API_KEY;
	struct slice text;
	enum auth_outcome out = find(place_of(conf, m), k->head, &text);

	if (out == AUTH_ok && (k->rule->looks & both) == both && auth_is_shared(conf) &&
	    !is_of(k, m, text))
		return AUTH_missing;
	return out == AUTH_ok ? methods[m].check(k, text) : out;
}

static void refuse(struct auth_result *r, unsigned m, enum auth_outcome out)
{
	r->why = auth_reason(out);
	r->blamed = (uint8_t)(1u << m);
}

static bool is_demanded(const struct auth_rule *rule, uint8_t sent)
{
	return (rule->all & ~sent) != 0 || (rule->any != 0 && !(rule->any & sent));
}

void auth_check(struct auth_worker *w, const struct auth_rule *rule, const struct head *head,
		uint64_t wall_ns, struct arena *scratch, struct auth_result *r)
{
	struct check k = { w, rule, head, wall_ns, scratch, r };
	uint8_t sent = 0;

	for (unsigned m = 0; m < AUTH_METHODS && r->why == NULL; m++) {
		enum auth_outcome out;

		if (!(rule->looks & methods[m].kind))
			continue;
		out = check_method(&k, (enum auth_method)m);
		r->looked |= (uint8_t)(1u << m);
		r->outcome[m] = (uint8_t)out;
		if (out == AUTH_ok)
			sent |= (uint8_t)methods[m].kind;
		else if (out != AUTH_missing && (rule->binds & methods[m].kind))
			refuse(r, m, out);
	}
	if (r->why == NULL && is_demanded(rule, sent))
		r->why = reason_unauthenticated;
	if (r->why != NULL)
		r->who = (struct identity){ .n = 0 };
}

void auth_release(struct auth_result *r)
{
	token_put(r->token);
	r->token = NULL;
}

bool auth_detach(struct auth_result *r, struct arena *arena)
{
	struct claim *copy = arena_zalloc(arena, (r->who.n + 1) * sizeof(*copy));
	bool ok = copy != NULL;

	for (uint32_t i = 0; ok && i < r->who.n; i++) {
		copy[i].path = arena_copy(arena, r->who.claim[i].path);
		copy[i].value = arena_copy(arena, r->who.claim[i].value);
		ok = copy[i].path.p != NULL && copy[i].value.p != NULL;
	}
	r->who.claim = copy;
	auth_release(r);
	return ok;
}

/*---------------------------------------------------------------- refusing */

const char *auth_text(const struct auth_result *r)
{
	for (unsigned m = 0; m < AUTH_METHODS; m++)
		if (r->blamed & 1u << m)
			return auth_outcomes[r->outcome[m]].text;
	return "";
}

/* `bearer` is written "Bearer"; case is of no meaning (RFC 9110 section 11.1). */
static void put_scheme(struct buf *b, const struct credential_conf *from)
{
	const char *s = from->scheme == NULL ? "ApiKey" : from->scheme;

	buf_putc(b, *s >= 'a' && *s <= 'z' ? (char)(*s & ~0x20) : *s);
	buf_puts(b, s + 1);
}

static void put_error(struct buf *b, const struct auth_result *r, unsigned m)
{
	const struct reason *why = auth_reason(r->outcome[m]);

	if (!(r->blamed & 1u << m) || auth_outcomes[r->outcome[m]].text[0] == '\0')
		return;
	buf_printf(b, ", error=\"%s\", error_description=\"%s\"", why->token,
		   auth_outcomes[r->outcome[m]].text);
}

struct slice auth_challenge(const struct auth *a, const struct auth_rule *rule,
			    const struct auth_result *r, struct arena *arena)
{
	struct buf b = { .arena = arena };

	for (unsigned m = 0; m < AUTH_METHODS; m++) {
		bool twin = m == AUTH_API_KEY && b.n > 0 && auth_is_shared(a->conf);

		if (!(rule->looks & methods[m].kind))
			continue;
		if (!twin) {
			buf_puts(&b, b.n > 0 ? ", " : "");
			put_scheme(&b, place_of(a->conf, (enum auth_method)m));
			buf_puts(&b, " realm=\"weir\"");
		}
		put_error(&b, r, m);
	}
	return b.oom ? slice_of(NULL, 0) : slice_of(b.p, b.n);
}

/*---------------------------------------------------------------- telling the upstream */

static const struct header_conf *header_at(const struct auth_conf *c, uint32_t i)
{
	return (const struct header_conf *)c->headers.item + i;
}

void auth_strip(const struct auth_conf *conf, struct head *h)
{
	for (uint32_t i = 0; i < conf->headers.n; i++) {
		head_remove_name(h, slice_str(header_at(conf, i)->name.name));
		head_remove_alike(h, slice_str(header_at(conf, i)->alike));
	}
}

static bool find_value(const struct header_conf *c, const struct identity *who,
		       struct slice tls_san, struct slice *out)
{
	*out = slice_of(NULL, 0);
	if (c->source == HEADER_CLAIM)
		return identity_claim(who, c->claim, out);
	if (c->source == HEADER_TLS_SAN)
		*out = tls_san;
	else if (who != NULL)
		*out = who->api_key;
	return out->n > 0;
}

/* What every application reads as it was meant: nothing that ends a line, no white space that is
 * trimmed, no bytes above ASCII. */
static bool is_plain(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~') /* negative ones, too, are not ASCII */
			return false;
	return s.n <= HEADER_VALUE_MAX && s.p[0] != ' ' && s.p[s.n - 1] != ' ';
}

bool auth_set(const struct auth_conf *conf, const struct identity *who, struct slice tls_san,
	      struct head *h)
{
	for (uint32_t i = 0; i < conf->headers.n; i++) {
		const struct header_conf *c = header_at(conf, i);
		struct slice value;

		if (!find_value(c, who, tls_san, &value) || !is_plain(value))
			continue;
		value = arena_copy(h->arena, value);
		if (value.p == NULL || !head_add_name(h, slice_str(c->name.name), value))
			return false;
	}
	return true;
}
