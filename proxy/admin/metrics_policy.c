/* metrics_policy.c - metric families of what policies decided and hold, and the Redis behind them. */
#include "admin/metrics_internal.h"

#include "core/redis_set.h"
#include "filters/stats.h"

/*---------------------------------------------------------------- policies */

static void limit_decisions(struct render *r)
{
	const struct policy *p = r->view->policy;

	for (uint32_t i = 0; i < p->n_filters; i++) {
		for (unsigned d = 0; d < DECISION_COUNT; d++) {
			metric_label(r, "policy", p->filter[i]->name);
			metric_label(r, "decision", decision_names[d]);
			metric_sample(r, filter_stats_read(p->filter[i]->stats, (enum decision)d));
		}
	}
}

struct shown {
	const struct filter *filter;
	struct filter_sample sample;
};

struct gathering {
	struct buf *shown;
	const struct filter *filter;
};

static void gather(void *ctx, const struct filter_sample *s)
{
	const struct gathering *g = ctx;
	struct shown shown = { .filter = g->filter, .sample = *s };

	buf_put(g->shown, &shown, sizeof(shown));
}

/* Once for all families: what a policy keeps of keys it has to count, which takes its time. */
void metrics_gather(struct render *r)
{
	const struct policy *p = r->view->policy;
	struct gathering g = { .shown = &r->shown };

	for (uint32_t i = 0; i < p->n_filters; i++) {
		g.filter = p->filter[i];
		if (g.filter->ops->show != NULL)
			g.filter->ops->show(g.filter, gather, &g);
	}
}

static void show_sample(struct render *r, const struct shown *shown, const char *state_label)
{
	const struct filter_sample *s = &shown->sample;

	metric_label(r, "policy", shown->filter->name);
	if (s->upstream != NULL)
		metric_label(r, "upstream", s->upstream);
	if (s->endpoint != NULL)
		metric_label(r, "endpoint", s->endpoint);
	if (s->state != NULL)
		metric_label(r, state_label, s->state);
	metric_sample(r, s->value);
}

/* One metric of each policy that has it; `state_label`: what its states are called. */
static void each_shown(struct render *r, enum filter_metric metric, const char *state_label)
{
	const struct shown *shown = (const struct shown *)(const void *)r->shown.p;
	size_t n = r->shown.n / sizeof(*shown);

	for (size_t i = 0; i < n; i++)
		if (shown[i].sample.metric == metric)
			show_sample(r, &shown[i], state_label);
}

static void limit_keys(struct render *r)
{
	each_shown(r, SHOW_KEYS, NULL);
}

static void limit_evictions(struct render *r)
{
	each_shown(r, SHOW_KEY_EVICTIONS, NULL);
}

static void queue_length(struct render *r)
{
	each_shown(r, SHOW_QUEUE_LENGTH, NULL);
}

static void concurrency_in_use(struct render *r)
{
	each_shown(r, SHOW_CONCURRENCY, NULL);
}

static void concurrency_limit(struct render *r)
{
	each_shown(r, SHOW_CONCURRENCY_LIMIT, NULL);
}

static void queue_wait(struct render *r)
{
	const struct policy *p = r->view->policy;

	for (uint32_t i = 0; i < p->n_filters; i++) {
		struct stat_sum sum = { 0 };

		if (!filter_stats_waits(p->filter[i]->stats, &sum))
			continue;
		metric_label(r, "policy", p->filter[i]->name);
		metric_hist(r, stat_bounds_call, &sum);
	}
}

static void refused_keys(struct render *r)
{
	const struct policy *p = r->view->policy;

	for (uint32_t i = 0; i < p->n_filters; i++) {
		if (p->filter[i]->ops->key == NULL)
			continue;
		metric_label(r, "policy", p->filter[i]->name);
		metric_sample(r, filter_stats_top_used(p->filter[i]->stats));
	}
}

static void breaker_state(struct render *r)
{
	each_shown(r, SHOW_BREAKER_STATE, "state");
}

static void breaker_transitions(struct render *r)
{
	each_shown(r, SHOW_BREAKER_TRANSITIONS, "to");
}

static void breaker_forced(struct render *r)
{
	each_shown(r, SHOW_BREAKER_FORCED, NULL);
}

/*---------------------------------------------------------------- redis */

static void redis_up(struct render *r)
{
	struct shared_gauge g;

	if (r->view->redis == NULL)
		return;
	redis_set_gauge(r->view->redis, &g);
	metric_sample(r, !g.down);
}

static void redis_peers(struct render *r)
{
	struct shared_gauge g;

	if (r->view->redis == NULL)
		return;
	redis_set_gauge(r->view->redis, &g);
	metric_sample(r, g.peers);
}

static void redis_operations(struct render *r)
{
	const struct redis_stats *s =
	    r->view->redis == NULL ? NULL : redis_set_stats(r->view->redis);

	for (unsigned i = 0; s != NULL && i < REDIS_RESULTS; i++) {
		metric_label(r, "result", redis_result_names[i]);
		metric_sample(r, stat_read(&s->results[i]));
	}
}

static void redis_duration(struct render *r)
{
	const struct redis_stats *s =
	    r->view->redis == NULL ? NULL : redis_set_stats(r->view->redis);
	struct stat_sum sum = { 0 };

	if (s == NULL)
		return;
	stat_sum_add(&sum, &s->took);
	metric_hist(r, stat_bounds_inner, &sum);
}

static void redis_fallbacks(struct render *r)
{
	each_shown(r, SHOW_FALLBACKS, "mode");
}

/*---------------------------------------------------------------- families */

const struct family metrics_policy[] = {
	COUNTER("weir_limit_decisions_total", limit_decisions, "What policies decided."),
	GAUGE("weir_limit_keys", limit_keys, "Keys that a policy keeps state of."),
	COUNTER("weir_limit_key_evictions_total", limit_evictions,
		"Keys that gave way to others in a full table."),
	GAUGE("weir_limit_refused_keys", refused_keys,
	      "Keys that are remembered for having been refused, see `admin.top_keys`."),
	GAUGE("weir_queue_length", queue_length, "Calls that wait in a policy's queue."),
	HISTOGRAM("weir_queue_wait_seconds", queue_wait,
		  "How long calls waited in a policy's queue, let in or not; those that need not "
		  "wait are not counted."),
	GAUGE("weir_concurrency_in_use", concurrency_in_use,
	      "Calls that a policy lets be under way."),
	GAUGE("weir_concurrency_limit", concurrency_limit,
	      "How many may be under way (of one key, where there is one)."),
	GAUGE("weir_breaker_state", breaker_state, "1 for the state that a breaker is in."),
	COUNTER("weir_breaker_transitions_total", breaker_transitions,
		"Changes of a breaker's state, by the new one."),
	GAUGE("weir_breaker_forced", breaker_forced, "1 while a breaker is forced open or closed."),
	GAUGE("weir_redis_up", redis_up, "1 while Redis answers."),
	GAUGE("weir_redis_peers", redis_peers, "Replicas that share limits, as far as is known."),
	COUNTER("weir_redis_operations_total", redis_operations,
		"Calls of Redis, by what became of them."),
	HISTOGRAM("weir_redis_operation_duration_seconds", redis_duration,
		  "How long Redis took to answer."),
	COUNTER("weir_redis_fallback_decisions_total", redis_fallbacks,
		"Calls that were decided without Redis, by how."),
	{ .name = NULL },
};
