/* ctl_internal.h - what the commands share.
 *
 *   ctl.c     the table of commands, and those that give orders
 *   ask.c     what most of them do: ask, and show the answer
 *   view.c    answers as people read them
 *   top.c     the live view; term.c what it needs of a terminal
 *   client.c  asks; table.c columns; pick.h values of answers */
#ifndef CTL_CTL_INTERNAL_H
#define CTL_CTL_INTERNAL_H

#include "base/json.h"
#include "core/cli_internal.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/table.h"

/* One command under way; zeroed at its begin. */
struct ctl {
	struct client_options where;
	bool json;   /* what came, for scripts */
	bool colour; /* people read it on a terminal */
	struct client client;
	struct arena arena; /* of all answers */
};

#define CTL_OPTIONS(c)                                                        \
	{ 0, "--admin", &(c).where.admin },                                   \
	    { 0, "--token-file", &(c).where.token_file, .values = CLI_FILE }, \
	    { 'c', "--config", &(c).where.config, .values = CLI_FILE },       \
	{                                                                     \
		0, "--json", .flag = &(c).json                                \
	}

/* Finds whom to ask.  False: what is wrong was printed. */
bool ctl_begin(struct ctl *);
/* Behind that, whatever it said: forgets the token. */
void ctl_end(struct ctl *);
/* The answer's text, in the arena; p NULL: there is no good one, and that was printed. */
struct slice ctl_ask(struct ctl *, const char *method, const char *target, struct slice body);
/* As JSON; NULL: what is wrong was printed. */
const struct json *ctl_read(struct ctl *, struct slice text);

/* What an answer that is none of success says. */
void ctl_print_refusal(struct ctl *, const struct client_answer *);

typedef void ctl_view(const struct ctl *, const struct json *, struct buf *out);

/* The whole of most commands, options parsed: asks, and shows the answer. */
int ctl_show(struct ctl *, const char *method, const char *target, struct slice body, ctl_view *);

ctl_view view_limits, view_limit, view_key, view_breakers, view_upstreams, view_endpoints,
    view_drain, view_level, view_reload, view_events, view_tree;
void view_status(const struct ctl *, const struct json *health, const struct json *stats,
		 struct buf *out);
/* "3d 04:12:07" "04:12:07" */
void put_span(struct buf *, double seconds);
/* "850us" "12.3ms" "1.25s", from 100 s on as put_span; "-": none */
void put_time(struct buf *, double seconds);

int ctl_top(int argc, char **argv, const struct cli_host *);

#endif
