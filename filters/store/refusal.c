/* refusal.c - the table of error replies. */
#include "store/refusal.h"

#include <stddef.h>
#include <string.h>

#include "base/number.h"

static const struct refusal table[] = {
	{ "NOSCRIPT", REFUSAL_WHOLE, false, "it does not know the script yet" },
	{ "MOVED", REFUSAL_MOVED, false, "another node of the cluster has the slot" },
	{ "ASK", REFUSAL_ASK, false, "the slot is on its way to another node" },
	{ "TRYAGAIN", REFUSAL_COMMAND, false, "the slot is on its way to another node" },
	{ "CLUSTERDOWN", REFUSAL_LATER, true, "the cluster is down" },
	{ "LOADING", REFUSAL_LATER, true, "it is loading its data" },
	{ "MASTERDOWN", REFUSAL_CLOSE, true, "it is a replica that lost its master" },
	{ "BUSY", REFUSAL_LATER, true, "it is busy with a script" },
	{ "READONLY", REFUSAL_CLOSE, true, "it is a replica" },
	{ "OOM", REFUSAL_OPERATOR, true, "its memory is full" },
	{ "MISCONF", REFUSAL_OPERATOR, true, "it cannot write to its disk" },
	{ "NOREPLICAS", REFUSAL_LATER, true, "it has too few replicas" },
	{ "NOAUTH", REFUSAL_OPERATOR, true, "it wants a password" },
	{ "WRONGPASS", REFUSAL_OPERATOR, true, "it does not take the password" },
	{ "NOPERM", REFUSAL_OPERATOR, true, "the user may not do this" },
	{ "EXECABORT", REFUSAL_COMMAND, true, "it gave a transaction up" },
	{ NULL, REFUSAL_COMMAND, true, "it answered with an error" },
};

enum { ROWS = sizeof(table) / sizeof(table[0]) };

static const struct refusal *row_of(struct slice word)
{
	unsigned i = 0;

	while (i < ROWS - 1 && !slice_is(word, table[i].word))
		i++;
	return &table[i];
}

/* What a command inside a script was refused for.  Redis 6 quotes it ("ERR Error running script ...: -OOM command
 * not allowed"); that the user may not is an ERR to all of them. */
static const struct refusal *row_inside(struct slice error)
{
	static const char may_not[] = "The user executing the script can't ";
	const char *quote = memmem(error.p, error.n, ": -", 3);
	const struct refusal *row;
	struct slice rest;

	if (memmem(error.p, error.n, may_not, sizeof(may_not) - 1) != NULL)
		return row_of(slice_str("NOPERM"));
	if (quote == NULL)
		return &table[ROWS - 1];
	rest = slice_of(quote + 3, error.n - (size_t)(quote + 3 - error.p));
	row = row_of(slice_cut(&rest, ' '));
	return row->answer < REFUSAL_COMMAND ? &table[ROWS - 1] : row; /* it ran: not once more */
}

const struct refusal *refusal_of(struct slice error)
{
	struct slice rest = error, word = slice_cut(&rest, ' ');

	return slice_is(word, "ERR") ? row_inside(error) : row_of(word);
}

unsigned refusal_count(void)
{
	return ROWS;
}

unsigned refusal_index(const struct refusal *r)
{
	return (unsigned)(r - table);
}

const struct refusal *refusal_at(unsigned index)
{
	return &table[index];
}

/*-------------------------------------------------------------------- redirects */

bool redirect_parse(struct slice error, struct redirect *out)
{
	struct slice rest = error, host;
	unsigned slot, port;
	const char *colon;

	*out = (struct redirect){ .slot = 0 };
	slice_cut(&rest, ' ');
	if (!number_parse(slice_cut(&rest, ' '), CLUSTER_SLOTS - 1, &slot) || rest.n == 0)
		return false;
	colon = memrchr(rest.p, ':', rest.n);
	if (colon == NULL)
		return false;
	host = slice_of(rest.p, (size_t)(colon - rest.p));
	if (host.n > REDIRECT_HOST_MAX || memchr(host.p, '\0', host.n) != NULL)
		return false;
	memcpy(out->host, host.p, host.n);
	if (!number_parse(slice_of(colon + 1, rest.n - host.n - 1), 65535, &port) || port == 0)
		return false;
	out->slot = (uint16_t)slot;
	out->port = (uint16_t)port;
	return true;
}
