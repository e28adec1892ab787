/* file_answer.h - what a call is answered from a file: a head, and which pieces of the file. */
#ifndef CORE_FILE_ANSWER_H
#define CORE_FILE_ANSWER_H

#include "core/files.h"
#include "http/head.h"

/* A text, and then so much of the file. */
struct file_piece {
	struct slice text;
	uint64_t at, n;
};

struct file_answer {
	int fd; /* -1: there is no body */
	uint32_t n;
	const struct file_piece *piece;
};

struct respond;

/* Fills `head` (head_init'ed; its status, where it has one, is kept, or becomes that of `respond`)
 * and `out`, whose fd is the caller's to close.  Not NULL: why there is no such answer, and *status:
 * what it is to be, 0: as the reason says. */
const struct reason *file_answer_make(const struct respond *, const struct route *,
				      const struct template_values *, struct head *,
				      struct file_answer *out, uint16_t *status);

#endif
