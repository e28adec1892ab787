/* condition.h - what else of a call a route wants: `match.when`.
 *
 *	when: { header.x-version: "2", query.debug: "*", client.ip: [10.0.0.0/8, 192.168.0.1] }
 *
 * A name is one of template.h's, without its braces, but for what is known only once there is a
 * route.  All conditions have to hold; of several values of one, any:
 *
 *	TEXT		exactly it
 *	"*"		there, whatever it is
 *	""		not there
 *	~ REGEX		the regular expression is found in it (pattern.h)
 *	10.0.0.0/8	of client.ip: an address of the network
 *
 * Of a field that is there several times, the first counts. */
#ifndef CORE_CONDITION_H
#define CORE_CONDITION_H

#include "core/config.h"
#include "core/template.h"

struct condition;

/* when->n of them, into the arena.  False after findings. */
bool conditions_prepare(const struct conf_list *when, const struct condition **out, struct arena *,
			struct diags *);
/* The same for conditions that are asked later; names may be texts with braces then. */
bool conditions_prepare_then(const struct conf_list *when, const struct condition **out,
			     enum template_time, struct arena *, struct diags *);
/* PATTERN_YES: all of them.  Values are made in the call's arena. */
enum pattern_answer conditions_hold(const struct condition *, uint32_t n,
				    const struct template_values *);
/* Whether they are the same, and whatever meets one meets the other. */
bool conditions_same(const struct conf_list *, const struct conf_list *);

#endif
