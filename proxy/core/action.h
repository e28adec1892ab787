/* action.h - what a route does to a call beside sending it on.
 *
 *  respond   an answer of its own, in place of an upstream.  The route's policies are asked before.
 *  set       header fields of the request that goes upstream
 *  rewrite   the path, query, method, host and body that go upstream.  They are made of the client's, once; what
 *            comes of it is held to the same rules as a client's (route_normal).
 *  answers   header fields of answers: the last thing that becomes of them
 *  reroute   in place of an upstream: the routes are asked again (reroute.h)
 *  pages     what errors are answered in place of what the upstream, or Weir, says of them.  The
 *            limits, breakers and tries have seen the upstream's answer by then, and so has the
 *            balancer; the client is told what the page says.
 *
 *  A1  Matching, limits, logs and metrics have the client's request, whatever goes upstream.
 *  A2  A route without any of these pays for a pointer that is NULL.
 *  A3  A field whose value comes out empty is taken out, or not added. */
#ifndef CORE_ACTION_H
#define CORE_ACTION_H

#include "core/policy.h"
#include "core/template.h"
#include "http/head.h"

struct field_edit {
	struct slice name;
	uint8_t id; /* enum field_id */
	struct template value;
};

/* What the pattern finds in a value becomes another text; one of which it cannot tell stays. */
struct replace_edit {
	struct slice name;
	uint8_t id; /* enum field_id */
	struct template_match match;
	struct template with;
};

struct answer_edit {
	bool success; /* only answers of success: answer_is_success */
	uint32_t n_set, n_add, n_remove, n_replace;
	const struct replace_edit *replace;
	const struct field_edit *set, *add, *remove; /* of those to remove: the names */
};

struct answer_edits {
	uint32_t n;
	const struct answer_edit *item;
};

struct respond {
	uint16_t status; /* 0: close; of `files`: as they have it */
	bool has_location, has_body;
	enum template_form body_form;
	struct template body, location;
	struct slice content_type;
	uint32_t n;
	const struct field_edit *field;
	const struct files *files; /* the body comes from there; NULL: `body` */
};

/* An answer of its own, or that of another route. */
struct error_page {
	bool hands, has_path;
	uint16_t status;           /* of what the other route answers; 0: its own */
	struct template path;      /* what it is asked for */
	const struct route *route; /* NULL: the one that takes the path */
	const char *name;          /* the same */
	uint64_t on[5];            /* bit i: status 300 + i */
	enum page_of from;
	const struct respond *respond; /* status 0: the error's own */
};

struct error_pages {
	bool hands; /* one of them does */
	uint32_t n;
	struct error_page *item;
};

enum host_from { HOST_OF_CLIENT, HOST_OF_UPSTREAM, HOST_OF_TEXT };

struct rewrite {
	struct slice prefix; /* p NULL: it is not this that is replaced */
	bool has_path, has_query;
	struct template path, query, host;
	struct template_match match;   /* what {match...} of the path means */
	const struct pattern *pattern; /* NULL: every path; where it is not found all of it stays */
	enum host_from host_from;
	struct slice method; /* p NULL: the client's */
	bool has_body;
	struct template body; /* in place of the client's */
};

/* Behind route_prepare: sets all of the above from route->conf.  False after findings. */
bool action_prepare(struct route *, const struct config *, struct arena *, struct diags *);
/* Of the configuration as a whole, for calls without a route; NULL: none. */
struct action_defaults {
	const struct answer_edits *answers;
	const struct error_pages *pages;
};
bool action_prepare_defaults(const struct config *, struct action_defaults *, struct arena *,
			     struct diags *);

/* Whether any of them tells of the tries, or of what else is known only then. */
bool answer_edits_watch(const struct answer_edits *);
bool error_pages_watch(const struct error_pages *);
/* Those that end a call well, and lead on: 200, 201, 204, 206, 301, 302, 303, 304, 307, 308. */
bool answer_is_success(uint16_t status);

/* False: memory is out. */
bool action_set_fields(const struct route *, const struct template_values *, struct head *req);
bool action_edit_answer(const struct answer_edits *, const struct template_values *, struct head *);

/* The page for an answer of this status, NULL: none.  `from`: PAGE_UPSTREAM or PAGE_WEIR. */
const struct respond *action_page(const struct error_pages *, uint16_t status, enum page_of from);

/* The same, of those that hand the call on to another route; NULL: the first that names the status does not. */
const struct error_page *action_hands(const struct error_pages *, uint16_t status,
				      enum page_of from);
/* Behind action_prepare of all routes: finds those that pages name. */
void action_link(const struct error_pages *, const struct route *, uint32_t n);
/* The fields that an answer has besides. */
bool action_add_fields(const struct respond *, const struct template_values *, struct head *);
/* A fixed answer's head and body.  Status 0 leaves the head's.  False: memory is out. */
bool action_respond(const struct respond *, const struct template_values *, struct head *,
		    struct slice *body);

#endif
