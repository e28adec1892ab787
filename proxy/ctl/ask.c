/* ask.c - the way of most commands: asks, and shows the answer. */
#include <string.h>

#include "ctl/ctl_internal.h"
#include "ctl/pick.h"

bool ctl_begin(struct ctl *c)
{
	arena_init(&c->arena, NULL);
	c->colour = cli_colour(stdout);
	return client_init(&c->client, &c->where);
}

void ctl_end(struct ctl *c)
{
	explicit_bzero(c->client.token, sizeof(c->client.token));
	arena_fini(&c->arena);
}

/* The sentence of a refusal. */
static struct slice reason_of(const struct client_answer *a, struct arena *arena)
{
	struct slice text = slice_of(a->body.p, a->body.n);
	const char *wrong;
	const struct json *root = a->json ? json_read(text, arena, &wrong) : NULL;
	struct slice error = pick_text(root, "error");

	while (text.n > 0 && strchr(" \r\n", text.p[text.n - 1]) != NULL)
		text.n--;
	return error.n > 0 ? error : text;
}

void ctl_print_refusal(struct ctl *c, const struct client_answer *a)
{
	struct slice text = reason_of(a, &c->arena);
	struct buf out = { 0 };

	if (c->json) {
		buf_printf(&out, "{\"status\":%u,\"error\":", a->status);
		buf_json_string(&out, text);
		buf_putc(&out, '}');
	} else {
		buf_puts(&out, "weir: ");
		put_plain(&out, text);
		buf_printf(&out, " (%u)", a->status);
	}
	buf_putc(&out, '\n');
	cli_put(c->json ? stdout : stderr, &out, STATUS_FAILED);
}

/* Answers that say more than that it is so: a reload that found errors, a Weir that is unwell. */
static bool is_worth_showing(const struct client_answer *a)
{
	return (a->status >= 200 && a->status < 300) ||
	       (a->json && (a->status == 422 || a->status == 503));
}

static bool ask(struct ctl *c, const char *method, const char *target, struct slice body,
		struct client_answer *a)
{
	unsigned timeout_s =
	    strcmp(target, "/reload") == 0 ? CLIENT_RELOAD_TIMEOUT_S : CLIENT_TIMEOUT_S;
	const char *wrong;

	if (!client_ask(&c->client, method, target, body, timeout_s, a, &wrong)) {
		fprintf(stderr, "weir: no answer from %s: %s\n", c->client.shown, wrong);
		return false;
	}
	if (!is_worth_showing(a)) {
		ctl_print_refusal(c, a);
		return false;
	}
	return true;
}

struct slice ctl_ask(struct ctl *c, const char *method, const char *target, struct slice body)
{
	struct slice text = { .p = NULL };
	struct client_answer a;

	if (ask(c, method, target, body, &a))
		text = arena_copy(&c->arena, slice_of(a.body.n > 0 ? a.body.p : "", a.body.n));
	buf_fini(&a.body);
	return text;
}

const struct json *ctl_read(struct ctl *c, struct slice text)
{
	const char *wrong = NULL;
	const struct json *root = text.p == NULL ? NULL : json_read_long(text, &c->arena, &wrong);

	if (root == NULL && text.p != NULL)
		fprintf(stderr, "weir: what answers is no Weir: %s\n", wrong);
	return root;
}

static int show(struct ctl *c, const char *method, const char *target, struct slice body,
		ctl_view *view)
{
	const struct json *root;
	struct client_answer a;
	struct buf out = { 0 };
	int status = STATUS_FAILED;

	if (ask(c, method, target, body, &a)) {
		status = a.status < 300 ? STATUS_OK : STATUS_FAILED;
		root = c->json || view == NULL ? NULL : ctl_read(c, slice_of(a.body.p, a.body.n));
		if (c->json || view == NULL)
			buf_put(&out, a.body.p, a.body.n);
		else if (root != NULL)
			view(c, root, &out);
		else
			status = STATUS_FAILED;
		status = cli_put(stdout, &out, status);
	}
	buf_fini(&a.body);
	return status;
}

int ctl_show(struct ctl *c, const char *method, const char *target, struct slice body,
	     ctl_view *view)
{
	int status = ctl_begin(c) ? show(c, method, target, body, view) : STATUS_FAILED;

	ctl_end(c);
	return status;
}
