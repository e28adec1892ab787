/* redis_set.c - the laws are in redis_set.h. */
#include "core/redis_set.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "upstream/resolve.h"

enum { NAMES_MAX = REDIS_PLACES_MAX + REDIS_NODES_MAX, LOOK_MS = 2 };

#define REFRESH_NS (5 * CLOCK_S) /* a name that moves with a failover is asked for anew */
#define HURRY_NS   (200 * CLOCK_MS)

/* A host with its addresses; its port is each place's own. */
struct found {
	char host[REDIS_HOST_MAX + 1];
	struct endpoint_addrs *addrs;
};

struct redis_set {
	struct arena arena; /* what the client was told, which outlives the file it came from */
	struct carrier *carrier;
	struct tls_client *tls;
	struct resolver *resolver;
	struct found found[NAMES_MAX]; /* the carrier's thread, once it runs */
	unsigned n_found;
	struct wakes *wakes;
	unsigned workers;
	struct sharing sharing;
	uint64_t connect_timeout_ns;
};

/*--------------------------------------------------------------------- names */

static struct found *find_name(struct redis_set *s, const char *host)
{
	for (unsigned i = 0; i < s->n_found; i++)
		if (strcmp(s->found[i].host, host) == 0)
			return &s->found[i];
	return NULL;
}

/* NULL: memory is out, or there are too many. */
static struct found *add_name(struct redis_set *s, const char *host)
{
	struct found *f = &s->found[s->n_found];

	if (s->n_found == NAMES_MAX)
		return NULL;
	snprintf(f->host, sizeof(f->host), "%s", host);
	f->addrs = endpoint_addrs_new(0);
	if (f->addrs == NULL)
		return NULL;
	if (!resolver_add(s->resolver, f->addrs, f->host, "redis", REFRESH_NS)) {
		endpoint_addrs_free(f->addrs);
		return NULL;
	}
	s->n_found++;
	return f;
}

/* Who asks again has lost what it was told: so old may an answer be by the next time, which nodes put off (N4). */
static void look_sooner(struct redis_set *s, const struct found *f)
{
	(void)(resolver_add(s->resolver, f->addrs, f->host, "redis", HURRY_NS) &&
	       resolver_add(s->resolver, f->addrs, f->host, "redis", REFRESH_NS));
}

/* The carrier's thread. */
static bool find(void *user, const struct redis_place *place, uint32_t turn, struct addr *out)
{
	struct redis_set *s = user;
	struct found *f = find_name(s, place->host);
	struct addr found;
	struct ip ip;

	if (f == NULL)
		f = add_name(s, place->host);
	else if (turn > 0)
		look_sooner(s, f);
	if (f == NULL || !resolver_start(s->resolver) ||
	    !endpoint_addrs_get(f->addrs, turn, &found))
		return false;
	ip = addr_ip(&found);
	addr_make(out, &ip, place->port);
	return true;
}

/* Those of the file: their first look-up is over before the client asks, if it is quick. */
static bool add_names(struct redis_set *s, const struct redis_conf *c)
{
	bool any = false;

	for (unsigned i = 0; i < c->n_places; i++) {
		const struct redis_place *p = &c->place[i];
		struct ip ip;

		if (p->is_unix || ip_parse(slice_str(p->host), &ip) ||
		    find_name(s, p->host) != NULL)
			continue;
		if (add_name(s, p->host) == NULL)
			return false;
		any = true;
	}
	return !any || resolver_start(s->resolver);
}

/*-------------------------------------------------------------------- making */

static void on_settled(void *owner)
{
	struct redis_set *s = owner;
	struct env env = { .wakes = s->wakes, .worker = UINT_MAX };

	wakes_tell(&env, s->workers == 64 ? UINT64_MAX : (UINT64_C(1) << s->workers) - 1);
}

static const char *keep(struct redis_set *s, const char *text, bool *ok)
{
	const char *copy = text == NULL ? NULL : arena_strdup(&s->arena, text);

	*ok = *ok && (text == NULL || copy != NULL);
	return copy;
}

static bool keep_options(struct redis_set *s, const struct redis_conf *c, struct carrier_options *o)
{
	struct redis_place *place = arena_zalloc(&s->arena, c->n_places * sizeof(*place));
	struct slice salt = redis_conf_salt(c);
	bool ok = place != NULL;

	redis_conf_options(c, s->tls, &o->redis);
	if (!ok)
		return false;
	memcpy(place, c->place, c->n_places * sizeof(*place));
	o->redis.place = place;
	o->redis.master = keep(s, o->redis.master, &ok);
	o->redis.greeting.user = keep(s, o->redis.greeting.user, &ok);
	o->redis.greeting.password = keep(s, o->redis.greeting.password, &ok);
	o->redis.sentinel_greeting.user = keep(s, o->redis.sentinel_greeting.user, &ok);
	o->redis.sentinel_greeting.password = keep(s, o->redis.sentinel_greeting.password, &ok);
	o->space = keep(s, c->space, &ok);
	o->salt = arena_copy(&s->arena, salt);
	o->peers = c->peers;
	CHECK(getrandom(&o->random, sizeof(o->random), 0) == (ssize_t)sizeof(o->random));
	return ok && (salt.n == 0 || o->salt.p != NULL);
}

static bool open_all(struct redis_set *s, const struct redis_conf *c)
{
	struct carrier_options o = { .settled = on_settled, .owner = s };

	s->resolver = resolver_new(NULL);
	if (s->resolver == NULL || !keep_options(s, c, &o) || !add_names(s, c))
		return false;
	o.redis.finder = (struct redis_finder){ .find = find, .user = s };
	s->carrier = carrier_new(&o);
	if (s->carrier == NULL)
		return false;
	s->sharing = (struct sharing){ .limits = carrier_shared(s->carrier),
				       .on_error = (enum lease_on_error)c->on_error,
				       .overshoot_ppm = c->overshoot_ppm,
				       .timeout_ns = c->timeout_ns };
	return true;
}

struct redis_set *redis_set_open(const struct redis_conf *c, struct wakes *wakes, unsigned workers,
				 struct diags *diags)
{
	struct redis_set *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		diags_out_of_memory(diags);
		return NULL;
	}
	arena_init(&s->arena, NULL);
	s->wakes = wakes;
	s->workers = workers;
	s->connect_timeout_ns = c->connect_timeout_ns;
	if (c->use_tls)
		s->tls =
		    tls_client_new(&c->tls, 0, c->at, (int64_t)(clock_wall_ns() / CLOCK_S), diags);
	if (c->use_tls && s->tls == NULL) {
		redis_set_close(s);
		return NULL;
	}
	if (open_all(s, c))
		return s;
	diags_out_of_memory(diags);
	redis_set_close(s);
	return NULL;
}

void redis_set_sharing(const struct redis_set *s, struct sharing *out)
{
	*out = s->sharing;
}

/* Calls do not wait for it; but those that come first had better find it there. */
static void wait_for_it(const struct redis_set *s)
{
	static const struct timespec little = { .tv_nsec = LOOK_MS * 1000000 };
	uint64_t end_ns = clock_mono_ns() + s->connect_timeout_ns;
	struct shared_gauge g;

	for (;;) {
		shared_gauge(s->sharing.limits, &g);
		if (!g.down)
			return;
		if (clock_mono_ns() >= end_ns)
			break;
		nanosleep(&little, NULL);
	}
	log_warn("redis is not there yet: limits that are shared begin without it");
}

bool redis_set_start(struct redis_set *s)
{
	uint64_t end_ns = clock_mono_ns() + s->connect_timeout_ns;

	for (unsigned i = 0; i < s->n_found; i++)
		resolver_wait(s->resolver, s->found[i].addrs, end_ns);
	if (!carrier_start(s->carrier)) {
		log_error("cannot start the thread that speaks to redis");
		return false;
	}
	wait_for_it(s);
	return true;
}

void redis_set_stop(struct redis_set *s)
{
	if (s != NULL)
		carrier_stop(s->carrier);
}

void redis_set_close(struct redis_set *s)
{
	if (s == NULL)
		return;
	carrier_free(s->carrier);
	resolver_free(s->resolver);
	for (unsigned i = 0; i < s->n_found; i++)
		endpoint_addrs_free(s->found[i].addrs);
	tls_client_put(s->tls);
	arena_fini(&s->arena);
	free(s);
}

/*------------------------------------------------------------------- metrics */

const struct redis_stats *redis_set_stats(const struct redis_set *s)
{
	return carrier_stats(s->carrier);
}

void redis_set_gauge(const struct redis_set *s, struct shared_gauge *g)
{
	shared_gauge(s->sharing.limits, g);
}
