/* resolve.c - names to addresses, on a thread of its own; laws in resolve.h.
 *
 * A name is waiting (busy false: somebody may remove it) or being looked up (busy true: the lock is
 * not held, so removal only marks it dead and the one who looks it up frees it). */
#include "upstream/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/thread.h"

/*---------------------------------------------------------------- address sets */

struct bank {
	_Atomic uint32_t n;
	_Atomic uint64_t word[RESOLVE_ADDRS_MAX][2]; /* struct ip */
};

struct endpoint_addrs {
	uint16_t port;
	_Atomic uint64_t generation; /* 0: never resolved; bank[generation & 1] is in force */
	struct bank bank[2];
};

struct endpoint_addrs *endpoint_addrs_new(uint16_t port)
{
	struct endpoint_addrs *s = calloc(1, sizeof(*s));

	if (s != NULL)
		s->port = port;
	return s;
}

void endpoint_addrs_free(struct endpoint_addrs *s)
{
	free(s);
}

/* Each word is read with acquire and was written with release: if one of them belongs to a later
 * generation, then the generation that was stored before it is seen, too. */
static bool read_ip(const struct endpoint_addrs *s, uint32_t turn, struct ip *out)
{
	uint64_t generation, word[2];
	uint32_t n;

	do {
		const struct bank *b;

		generation = atomic_load_explicit(&s->generation, memory_order_acquire);
		if (generation == 0)
			return false;
		b = &s->bank[generation & 1];
		n = atomic_load_explicit(&b->n, memory_order_acquire);
		for (int i = 0; i < 2; i++)
			word[i] = atomic_load_explicit(&b->word[turn % n][i], memory_order_acquire);
	} while (atomic_load_explicit(&s->generation, memory_order_relaxed) != generation);
	memcpy(out->b, word, sizeof(out->b));
	return true;
}

bool endpoint_addrs_get(const struct endpoint_addrs *s, uint32_t turn, struct addr *out)
{
	struct ip ip;

	if (!read_ip(s, turn, &ip))
		return false;
	addr_make(out, &ip, s->port);
	return true;
}

unsigned endpoint_addrs_count(const struct endpoint_addrs *s)
{
	uint64_t generation = atomic_load_explicit(&s->generation, memory_order_acquire);

	if (generation == 0)
		return 0;
	return atomic_load_explicit(&s->bank[generation & 1].n, memory_order_acquire);
}

void endpoint_addrs_publish(struct endpoint_addrs *s, const struct ip *ip, unsigned n)
{
	uint64_t next = atomic_load_explicit(&s->generation, memory_order_relaxed) + 1;
	struct bank *b = &s->bank[next & 1];

	CHECK(n >= 1 && n <= RESOLVE_ADDRS_MAX);
	for (unsigned i = 0; i < n; i++) {
		uint64_t word[2];

		memcpy(word, ip[i].b, sizeof(word));
		atomic_store_explicit(&b->word[i][0], word[0], memory_order_release);
		atomic_store_explicit(&b->word[i][1], word[1], memory_order_release);
	}
	atomic_store_explicit(&b->n, n, memory_order_release);
	atomic_store_explicit(&s->generation, next, memory_order_release);
}

/*---------------------------------------------------------------- names */

enum {
	RETRY_S = 1, /* a name without any address is tried again this soon */
	THREAD_STACK_BYTES = 256 * 1024,
};

struct name {
	struct list link;
	struct endpoint_addrs *addrs;
	uint64_t interval_ns, due_ns;
	bool tried, failing, busy, dead;
	char *label;
	char host[]; /* then the label */
};

struct resolver {
	struct resolver_lookup lookup;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* names or stop: for the thread */
	pthread_cond_t settled; /* a look-up has ended: for who waits */
	struct list names;
	pthread_t thread;
	bool started, stop;
	bool looking; /* a look-up is under way */
	bool orphan;  /* freed by the thread when it ends */
};

static int system_lookup(void *user, const char *host, struct ip *out, unsigned max,
			 const char **why)
{
	/* without ADDRCONFIG a name with an AAAA record is half unreachable where there is no IPv6
	 */
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *all = NULL;
	int rc = getaddrinfo(host, NULL, &hints, &all);
	unsigned n = 0;

	(void)user;
	if (rc != 0) {
		*why = gai_strerror(rc);
		return -1;
	}
	for (struct addrinfo *a = all; a != NULL && n < max; a = a->ai_next) {
		struct addr addr = { .len = a->ai_addrlen };

		if (a->ai_addrlen > sizeof(addr.u))
			continue;
		memcpy(&addr.u, a->ai_addr, a->ai_addrlen);
		out[n++] = addr_ip(&addr);
	}
	freeaddrinfo(all);
	return (int)n;
}

struct resolver *resolver_new(const struct resolver_lookup *lookup)
{
	struct resolver *r = calloc(1, sizeof(*r));
	pthread_condattr_t attr;

	if (r == NULL)
		return NULL;
	r->lookup = lookup != NULL ? *lookup : (struct resolver_lookup){ .run = system_lookup };
	list_init(&r->names);
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &attr);
	pthread_cond_init(&r->settled, &attr);
	pthread_condattr_destroy(&attr);
	return r;
}

static void resolver_destroy(struct resolver *r)
{
	LIST_EACH(link, &r->names)
	{
		list_remove(link);
		free(LIST_ENTRY(link, struct name, link));
	}
	pthread_cond_destroy(&r->settled);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void resolver_free(struct resolver *r)
{
	bool join;

	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	LIST_EACH(link, &r->names)
	LIST_ENTRY(link, struct name, link)->dead = true;
	r->orphan = r->started && r->looking;
	join = r->started && !r->looking;
	if (r->orphan)
		pthread_detach(r->thread);
	pthread_cond_broadcast(&r->changed);
	pthread_cond_broadcast(&r->settled);
	if (!r->started || join) {
		pthread_mutex_unlock(&r->lock);
		if (join)
			pthread_join(r->thread, NULL);
		resolver_destroy(r);
		return;
	}
	pthread_mutex_unlock(&r->lock);
}

static struct name *name_find(struct resolver *r, const struct endpoint_addrs *addrs)
{
	LIST_EACH(link, &r->names)
	{
		struct name *n = LIST_ENTRY(link, struct name, link);

		if (n->addrs == addrs && !n->dead)
			return n;
	}
	return NULL;
}

static struct name *name_new(const char *host, const char *label)
{
	size_t host_bytes = strlen(host) + 1, label_bytes = strlen(label) + 1;
	struct name *n = calloc(1, sizeof(*n) + host_bytes + label_bytes);

	if (n == NULL)
		return NULL;
	memcpy(n->host, host, host_bytes);
	n->label = n->host + host_bytes;
	memcpy(n->label, label, label_bytes);
	return n;
}

bool resolver_add(struct resolver *r, struct endpoint_addrs *addrs, const char *host,
		  const char *label, uint64_t interval_ns)
{
	struct name *n;

	pthread_mutex_lock(&r->lock);
	n = name_find(r, addrs);
	if (n == NULL) {
		n = name_new(host, label);
		if (n != NULL) {
			n->addrs = addrs;
			list_push_back(&r->names, &n->link);
		}
	} else if (n->interval_ns > interval_ns) {
		uint64_t sooner = n->interval_ns - interval_ns;

		n->due_ns -= n->due_ns > sooner ? sooner : n->due_ns;
	}
	if (n != NULL)
		n->interval_ns = interval_ns;
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->lock);
	return n != NULL;
}

static void name_free(struct name *n)
{
	list_remove(&n->link);
	free(n);
}

void resolver_remove(struct resolver *r, const struct endpoint_addrs *addrs)
{
	struct name *n;

	pthread_mutex_lock(&r->lock);
	n = name_find(r, addrs);
	if (n != NULL && n->busy)
		n->dead = true;
	else if (n != NULL)
		name_free(n);
	pthread_mutex_unlock(&r->lock);
}

/*---------------------------------------------------------------- looking up */

static bool holds(const struct ip *set, unsigned n, const struct ip *ip)
{
	for (unsigned i = 0; i < n; i++)
		if (memcmp(&set[i], ip, sizeof(*ip)) == 0)
			return true;
	return false;
}

static unsigned without_doubles(struct ip *set, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++)
		if (!holds(set, kept, &set[i]))
			set[kept++] = set[i];
	return kept;
}

/* Name servers rotate their answers: order is no change. */
static bool is_news(const struct endpoint_addrs *s, const struct ip *set, unsigned n)
{
	struct ip old;

	if (endpoint_addrs_count(s) != n)
		return true;
	for (unsigned i = 0; i < n; i++)
		if (!read_ip(s, i, &old) || !holds(set, n, &old))
			return true;
	return false;
}

static void log_addresses(const struct name *name, const struct ip *set, unsigned n)
{
	enum { SHOWN = 8 };
	char text[SHOWN * (IP_TEXT_MAX + 2) + 32];
	size_t at = 0;

	for (unsigned i = 0; i < n && i < SHOWN; i++) {
		char ip[IP_TEXT_MAX];

		ip_format(&set[i], ip);
		at += (size_t)snprintf(text + at, sizeof(text) - at, i == 0 ? "%s" : ", %s", ip);
	}
	if (n > SHOWN)
		snprintf(text + at, sizeof(text) - at, " and %u more", n - SHOWN);
	log_info("upstream %s: %s is now %s", name->label, name->host, text);
}

static void on_failure(struct name *name, const char *why)
{
	unsigned kept = endpoint_addrs_count(name->addrs);

	if (!name->failing)
		log_warn("upstream %s: cannot resolve %s: %s; %s", name->label, name->host,
			 why != NULL ? why : "no address",
			 kept > 0 ? "its last addresses stay in use" : "trying on");
	name->failing = true;
}

static void on_success(struct name *name, struct ip *set, unsigned n)
{
	n = without_doubles(set, n);
	if (is_news(name->addrs, set, n)) {
		endpoint_addrs_publish(name->addrs, set, n);
		log_addresses(name, set, n);
	} else if (name->failing) {
		log_info("upstream %s: %s resolves again", name->label, name->host);
	}
	name->failing = false;
}

static void name_settle(struct name *name, uint64_t now_ns, struct ip *set, int n, const char *why)
{
	uint64_t wait_ns = name->interval_ns != 0 ? name->interval_ns : UINT64_MAX;

	if (n > 0)
		on_success(name, set, (unsigned)n);
	else
		on_failure(name, why);
	if (endpoint_addrs_count(name->addrs) == 0 && wait_ns > RETRY_S * CLOCK_S)
		wait_ns = RETRY_S * CLOCK_S;
	name->due_ns = wait_ns < UINT64_MAX - now_ns ? now_ns + wait_ns : UINT64_MAX;
	name->tried = true;
}

static struct name *name_next(struct resolver *r)
{
	struct name *next = NULL;

	LIST_EACH(link, &r->names)
	{
		struct name *n = LIST_ENTRY(link, struct name, link);

		if (next == NULL || n->due_ns < next->due_ns)
			next = n;
	}
	return next;
}

/* The lock is held, and given up during the look-up. */
static void name_look_up(struct resolver *r, struct name *name, uint64_t now_ns)
{
	struct ip set[RESOLVE_ADDRS_MAX];
	const char *why = NULL;
	int n;

	name->busy = r->looking = true;
	pthread_mutex_unlock(&r->lock);
	n = r->lookup.run(r->lookup.user, name->host, set, RESOLVE_ADDRS_MAX, &why);
	pthread_mutex_lock(&r->lock);
	name->busy = r->looking = false;
	if (name->dead)
		name_free(name);
	else
		name_settle(name, now_ns, set, n, why);
	pthread_cond_broadcast(&r->settled);
}

static uint64_t step_locked(struct resolver *r, uint64_t now_ns)
{
	struct name *name;

	while (!r->stop && (name = name_next(r)) != NULL && name->due_ns <= now_ns)
		name_look_up(r, name, now_ns);
	name = name_next(r);
	return name == NULL ? UINT64_MAX : name->due_ns;
}

uint64_t resolver_step(struct resolver *r, uint64_t now_ns)
{
	uint64_t next;

	pthread_mutex_lock(&r->lock);
	next = step_locked(r, now_ns);
	pthread_mutex_unlock(&r->lock);
	return next;
}

/*---------------------------------------------------------------- the thread */

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ns / CLOCK_S),
			       .tv_nsec = (long)(deadline_ns % CLOCK_S) };

	if (deadline_ns == UINT64_MAX)
		pthread_cond_wait(cond, lock);
	else
		pthread_cond_timedwait(cond, lock, &ts);
}

static void *resolver_run(void *arg)
{
	struct resolver *r = arg;
	bool orphan;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		uint64_t next_ns = step_locked(r, clock_mono_ns());

		if (!r->stop)
			wait_until(&r->changed, &r->lock, next_ns);
	}
	orphan = r->orphan;
	pthread_mutex_unlock(&r->lock);
	if (orphan)
		resolver_destroy(r);
	return NULL;
}

bool resolver_start(struct resolver *r)
{
	if (!r->started)
		r->started = thread_start(&r->thread, "weir/names", THREAD_STACK_BYTES, resolver_run, r);
	return r->started;
}

void resolver_wait(struct resolver *r, const struct endpoint_addrs *addrs, uint64_t deadline_ns)
{
	const struct name *n;

	pthread_mutex_lock(&r->lock);
	while ((n = name_find(r, addrs)) != NULL && !n->tried && !r->stop &&
	       clock_mono_ns() < deadline_ns)
		wait_until(&r->settled, &r->lock, deadline_ns);
	pthread_mutex_unlock(&r->lock);
}
