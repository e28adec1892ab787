/* config_tracing.c - the field table of `tracing:`. */
#include <string.h>

#include "base/clock.h"
#include "core/config.h"
#include "core/collector.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

static bool holds_control(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7F)
			return true;
	return false;
}

static const struct field pair_fields[] = {
	{ .key = "value",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct pair_conf, value),
	  .at = offsetof(struct pair_conf, at),
	  .max = 4 * KIB,
	  .doc = "The text." },
	{ .key = NULL },
};

static bool check_pair(struct conf_load *l, const struct node *n, void *conf)
{
	const struct pair_conf *p = conf;

	if (!holds_control(p->name.name) && !holds_control(p->value))
		return true;
	diag_error(l->diags, n->at, "E015", "the value of `%s` holds a control character",
		   p->name.name);
	return false;
}

static const struct schema attribute_schema = {
	.name = "attribute",
	.size = sizeof(struct pair_conf),
	.fields = pair_fields,
	.scalar = "value",
	.check = check_pair,
};

/* What the client of the collector writes itself. */
static bool is_field_name(const char *name)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";
	enum field_id id = field_lookup(slice_str(name));

	for (const char *c = name; *c != '\0'; c++)
		if (!((*c >= '0' && *c <= '9') || ((*c | 0x20) >= 'a' && (*c | 0x20) <= 'z') ||
		      strchr(marks, *c) != NULL))
			return false;
	return *name != '\0' && id != F_HOST && id != F_CONTENT_LENGTH &&
	       id != F_TRANSFER_ENCODING && !(field_flags[id] & FIELD_HOP);
}

static bool check_header(struct conf_load *l, const struct node *n, void *conf)
{
	const struct pair_conf *p = conf;

	if (is_field_name(p->name.name))
		return check_pair(l, n, conf);
	diag_error(l->diags, n->key_at, "E015", "no field called `%s` can be sent", p->name.name);
	return false;
}

static const struct field header_fields[] = {
	{ .key = "value",
	  .type = C_STRING,
	  .flags = C_REQUIRED | C_SECRET,
	  .offset = offsetof(struct pair_conf, value),
	  .at = offsetof(struct pair_conf, at),
	  .max = 4 * KIB,
	  .doc = "The field's value." },
	{ .key = NULL },
};

static const struct schema header_schema = {
	.name = "header for the collector",
	.size = sizeof(struct pair_conf),
	.fields = header_fields,
	.scalar = "value",
	.check = check_header,
};

static bool check_tracing(struct conf_load *l, const struct node *n, void *conf)
{
	const struct tracing_conf *t = conf;
	struct collector_place place;
	const char *wrong = collector_place_parse(slice_str(t->endpoint), &place);

	(void)n;
	if (wrong != NULL)
		diag_error(l->diags, t->endpoint_at, "E015", "`endpoint`: %s", wrong);
	return wrong == NULL;
}

static const struct field tracing_fields[] = {
	{ .key = "endpoint",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct tracing_conf, endpoint),
	  .at = offsetof(struct tracing_conf, endpoint_at),
	  .min = 1,
	  .max = 1024,
	  .doc =
	      "The collector's URL, `http://` or `https://`, for OTLP over HTTP in JSON. Without "
	      "a path it is `/v1/traces`." },
	{ .key = "ratio",
	  .type = C_SHARE,
	  .offset = offsetof(struct tracing_conf, ratio),
	  .dflt = "100%",
	  .doc = "How many of the traces that begin here are recorded. Where the caller has one "
		 "(`traceparent`), it has decided." },
	{ .key = "service",
	  .type = C_STRING,
	  .offset = offsetof(struct tracing_conf, service),
	  .dflt = "weir",
	  .min = 1,
	  .max = 256,
	  .doc = "`service.name` of all spans." },
	{ .key = "attributes",
	  .type = C_NAMED,
	  .offset = offsetof(struct tracing_conf, attributes),
	  .sub = &attribute_schema,
	  .doc =
	      "More attributes of the resource, by name, such as `deployment.environment.name`." },
	{ .key = "headers",
	  .type = C_NAMED,
	  .offset = offsetof(struct tracing_conf, headers),
	  .sub = &header_schema,
	  .doc = "Fields of requests to the collector, by name." },
	{ .key = "tls",
	  .type = C_MAP,
	  .offset = offsetof(struct tracing_conf, tls),
	  .sub = &tls_client_schema,
	  .doc = "How a collector behind `https://` is spoken to." },
	{ .key = "timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct tracing_conf, timeout_ns),
	  .dflt = "10s",
	  .min = CLOCK_MS,
	  .max = 300 * CLOCK_S,
	  .doc = "How long the collector may take for a batch, connecting included." },
	{ .key = "queue",
	  .type = C_BYTES,
	  .offset = offsetof(struct tracing_conf, queue_bytes),
	  .dflt = "1MiB",
	  .min = 64 * KIB,
	  .max = 256 * MIB,
	  .doc = "Spans that may wait for the collector, per worker (one is about 1 KiB); what "
		 "finds no "
		 "room is dropped and counted." },
	{ .key = "batch",
	  .type = C_U32,
	  .offset = offsetof(struct tracing_conf, batch),
	  .dflt = "512",
	  .min = 1,
	  .max = 10000,
	  .doc = "Spans that go in one request, at most." },
	{ .key = "interval",
	  .type = C_DURATION,
	  .offset = offsetof(struct tracing_conf, interval_ns),
	  .dflt = "5s",
	  .min = CLOCK_MS,
	  .max = 600 * CLOCK_S,
	  .doc = "How long spans wait for a batch to be full." },
	{ .key = NULL },
};

const struct schema tracing_schema = {
	.name = "tracing section",
	.size = sizeof(struct tracing_conf),
	.fields = tracing_fields,
	.at = offsetof(struct tracing_conf, at),
	.check = check_tracing,
};
