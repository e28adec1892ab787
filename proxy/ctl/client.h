/* client.h - asks the admin listener of a running Weir: one request a connection, over TCP or a unix socket. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include "base/addr.h"
#include "base/buf.h"

enum {
	CLIENT_ADDRS_MAX = 8,
	CLIENT_ANSWER_MAX = 64 << 20,
	CLIENT_TIMEOUT_S = 10,
	CLIENT_RELOAD_TIMEOUT_S = 120
};

/* Whom to ask, and as whom. */
struct client {
	struct addr addr[CLIENT_ADDRS_MAX]; /* of one host: the first that answers is asked */
	unsigned n;
	char host[256];   /* as it was given */
	char shown[256];  /* for people */
	bool named;       /* it is no address */
	char token[4097]; /* "": none */
};

struct client_options {
	const char
	    *admin; /* "http://127.0.0.1:9901" "127.0.0.1:9901" "unix:/run/weir/admin.sock" */
	const char *token_file; /* what it says, but for a newline at its end, is the token */
	const char *config; /* a configuration that says both; also when there is nothing else */
};

/* By the options; else by WEIR_ADMIN and WEIR_ADMIN_TOKEN; else by the configuration.  False: what is wrong was
 * printed. */
bool client_init(struct client *, const struct client_options *);

struct client_answer {
	unsigned status;
	bool json;
	struct buf body;
};

/* False: no answer came, *wrong says why.  The body is the caller's. */
bool client_ask(const struct client *, const char *method, const char *target, struct slice body,
		unsigned timeout_s, struct client_answer *, const char **wrong);
/* GET; each piece of a good answer goes to `see` as it comes, until it ends (true) or `see` says false. */
bool client_follow(const struct client *, const char *target, bool (*see)(void *arg, struct slice),
		   void *arg, struct client_answer *, const char **wrong);
/* Appends it with all but unreserved characters as %XX (RFC 3986 section 2.3). */
void client_escape(struct buf *, struct slice);

#endif
