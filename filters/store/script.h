/* script.h - the scripts that keep shared limits in Redis, what they are asked and what they answer.
 *
 * Laws
 *  S1  One script per way of counting, one key per call: atomic, and good for a cluster as it is.
 *  S2  The time is the server's.  Answers hold durations only: no clock of ours matters.
 *  S3  What has expired is as good as full: expiry loses nothing.  A denial writes nothing.
 *  S4  Numbers are whole and below 2^53: Lua's are doubles.  Who asks for more is refused here.
 *
 * The texts are *.lua beside this file; each says at its top what it takes and answers. */
#ifndef STORE_SCRIPT_H
#define STORE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "store/key_name.h"
#include "store/resp.h"

struct script {
	const char *name, *sha1, *body;
};

extern const struct script script_bucket, script_window, script_budget, script_permits,
    script_peers;

enum {
	CALL_TEXT_MAX = 512,
	SIDECAR_NAME_MAX = 16,
	BUDGET_COUNT_MAX = 40, /* bytes of a count's name */
};

/* Largest number that is exact in a script, and the largest product of two that it makes. */
#define SCRIPT_NUMBER_MAX (INT64_C(1) << 53)

/* One call of a script, as it goes over the wire but for its first two words.  May be copied. */
struct script_call {
	const struct script *script;
	uint16_t args; /* the key among them */
	uint16_t n;
	uint8_t key_at, key_n; /* in text */
	char text[CALL_TEXT_MAX];
};

/* `whole`: EVAL with the text, for a server that does not know it yet; else EVALSHA. */
void script_call_put(const struct script_call *, bool whole, struct buf *out);

/* The key it asks for. */
struct slice script_call_key(const struct script_call *);

/*---------------------------------------------------------------- questions */

/* Tokens that come in a time, `count` every `period_us`; no common divisor. */
struct bucket_share {
	uint64_t period_us, count, burst;
};

/* NULL, or why a script cannot count this: a sentence.  A fraction that is too fine for its numbers
 * is rounded, by less than 10^-9. */
const char *bucket_share_init(struct bucket_share *, uint64_t count, uint64_t period_us,
			      uint64_t burst);

/* What every limit is asked: `owed` was spent and not charged (below 0: the other way round); a
 * grant of less than `least` is of no use, more than `want` is not wanted. */
struct sync {
	int64_t owed;
	uint64_t least, want;
};

void script_call_bucket(struct script_call *, const struct key_name *, const struct bucket_share *,
			const struct sync *);
void script_call_window(struct script_call *, const struct key_name *, uint64_t period_us,
			bool sliding, uint64_t limit, const struct sync *);

/* A budget's count, as the sidecar knows it. */
struct budget_count {
	bool known;
	int64_t window;
	char name[BUDGET_COUNT_MAX + 1]; /* "": has none yet */
};

struct budget_settle {
	uint64_t length_us;
	int64_t offset_us;
	uint64_t limit;
	const char
	    *sidecar; /* at most SIDECAR_NAME_MAX letters and digits, never used by another */
	uint64_t seq;
	struct sync sync;
	struct budget_count count;
	uint64_t own; /* charged to this sidecar in that window */
};

void script_call_budget(struct script_call *, const struct key_name *,
			const struct budget_settle *);
void script_call_permits(struct script_call *, const struct key_name *, uint64_t cap,
			 const char *sidecar, uint64_t need, uint64_t want, uint64_t hold_us,
			 uint64_t waits);

/* Tells that the sidecar is there for so long (0: it leaves); granted: how many there are. */
void script_call_peers(struct script_call *, const struct key_name *, const char *sidecar,
		       uint64_t hold_us);

/*------------------------------------------------------------------ answers */

#define SYNC_NEVER UINT64_MAX

struct sync_reply {
	uint64_t granted, left;
	uint64_t retry_us; /* 0: nothing was refused; SYNC_NEVER */
	union {
		uint64_t reset_us;
		uint64_t yields; /* of permits */
	};
	struct budget_count count; /* of a budget */
	uint64_t used;
};

/* False: no answer of this script's. */
bool sync_reply_read(const struct script *, const struct resp *, struct sync_reply *);

#endif
