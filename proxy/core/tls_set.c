/* tls_set.c - certificates and the like, for all of a configuration. */
#include "core/tls_set.h"

#include <string.h>

#include "base/clock.h"
#include "io/transport.h"

static int64_t now_s(void)
{
	return (int64_t)(clock_wall_ns() / CLOCK_S);
}

static const struct listen_conf *listener_at(const struct config *c, uint32_t i)
{
	return (const struct listen_conf *)c->listen.item + i;
}

void tls_set_close(const struct config *c, struct tls_server **set)
{
	for (uint32_t i = 0; set != NULL && i < c->listen.n; i++)
		tls_server_put(set[i]);
}

/* Goes on after a finding: all of them are wanted. */
struct tls_server **tls_set_open(const struct config *c, struct arena *arena, struct diags *diags)
{
	static const unsigned protocols[] = {
		[false] = 1u << PROTOCOL_HTTP1,
		[true] = 1u << PROTOCOL_HTTP1 | 1u << PROTOCOL_HTTP2,
	};
	struct tls_server **set =
	    arena_zalloc(arena, (c->listen.n + 1) * sizeof(struct tls_server *));
	bool ok = set != NULL;

	if (set == NULL)
		diags_out_of_memory(diags);
	for (uint32_t i = 0; set != NULL && i < c->listen.n; i++) {
		const struct conf_list *certs = &listener_at(c, i)->tls;

		if (certs->n == 0)
			continue;
		set[i] = tls_server_new(certs, protocols[listener_at(c, i)->http2], now_s(), diags);
		ok = ok && set[i] != NULL;
	}
	if (ok)
		return set;
	tls_set_close(c, set);
	return NULL;
}

void tls_set_check(const struct config *c, struct diags *diags)
{
	const struct cluster_conf *cluster = c->upstreams.item;
	struct tls_client *client;
	struct arena scratch;

	arena_init(&scratch, NULL);
	tls_set_close(c, tls_set_open(c, &scratch, diags));
	arena_fini(&scratch);
	for (uint32_t i = 0; i < c->upstreams.n; i++)
		if (cluster_open_tls(&cluster[i], now_s(), &client, diags))
			tls_client_put(client);
	if (c->tracing.endpoint != NULL && strncmp(c->tracing.endpoint, "https://", 8) == 0)
		tls_client_put(
		    tls_client_new(&c->tracing.tls, 0, c->tracing.endpoint_at, now_s(), diags));
}

struct sight {
	void (*visit)(void *, const struct tls_certificate *, struct place);
	void *arg;
	struct diags *diags; /* what is wrong with files is somebody else's to say */
};

static void see_listener(const struct sight *s, const struct conf_list *certs)
{
	struct tls_server *server;

	if (certs->n == 0 ||
	    (server = tls_server_new(certs, 1u << PROTOCOL_HTTP1, now_s(), s->diags)) == NULL)
		return;
	for (uint32_t i = 0; i < tls_server_certificates(server); i++) {
		struct tls_certificate c = tls_server_certificate(server, i);

		s->visit(s->arg, &c, ((const struct tls_server_conf *)certs->item)[i].cert_at);
	}
	tls_server_put(server);
}

static void see_client(const struct sight *s, const struct tls_client_conf *conf)
{
	struct tls_certificate c;
	struct tls_client *client;

	if (conf->cert == NULL ||
	    (client = tls_client_new(conf, 0, conf->at, now_s(), s->diags)) == NULL)
		return;
	if (tls_client_certificate(client, &c))
		s->visit(s->arg, &c, conf->cert_at);
	tls_client_put(client);
}

void tls_set_certificates(const struct config *c,
			  void (*visit)(void *, const struct tls_certificate *, struct place),
			  void *arg)
{
	const struct cluster_conf *cluster = c->upstreams.item;
	struct arena scratch;
	struct diags unsaid;
	const struct sight s = { visit, arg, &unsaid };

	arena_init(&scratch, NULL);
	diags_init(&unsaid, &scratch);
	for (uint32_t i = 0; i < c->listen.n; i++)
		see_listener(&s, &listener_at(c, i)->tls);
	for (uint32_t i = 0; i < c->upstreams.n; i++)
		see_client(&s, &cluster[i].tls);
	see_client(&s, &c->tracing.tls);
	see_client(&s, &c->redis.tls);
	arena_fini(&scratch);
}

void tls_set_files(const struct config *c, void (*visit)(void *, const char *), void *arg)
{
	const struct cluster_conf *cluster = c->upstreams.item;

	for (uint32_t i = 0; i < c->listen.n; i++) {
		const struct conf_list *certs = &listener_at(c, i)->tls;

		for (uint32_t k = 0; k < certs->n; k++)
			tls_server_files((const struct tls_server_conf *)certs->item + k, visit,
					 arg);
	}
	for (uint32_t i = 0; i < c->upstreams.n; i++)
		tls_client_files(&cluster[i].tls, visit, arg);
	if (c->tracing.endpoint != NULL)
		tls_client_files(&c->tracing.tls, visit, arg);
}
