/* access_line.h - a call as one line of JSON: pure formatting, names of the OpenTelemetry HTTP
 * conventions.
 *
 * Whatever clients send, a line is valid JSON in UTF-8, ends with its only newline, and is at most
 * ACCESS_LINE_MAX long: values that are too long are cut and end with "...". */
#ifndef CORE_ACCESS_LINE_H
#define CORE_ACCESS_LINE_H

#include "base/arena.h"
#include "core/config.h"
#include "core/stats.h"

enum { ACCESS_LINE_MAX = 8192 };

/* A request field to log. */
struct access_line_field {
	struct slice name;
	struct slice key; /* ,"http.request.header.NAME":[" */
	uint8_t id;       /* enum field_id */
	bool redacted;
};

struct access_line_rules {
	struct access_line_field *field;
	unsigned n;
	bool hide_user_agent;
};

/* The wall clock as text, made once a second; zeroed at first. */
struct access_line_clock {
	uint64_t second;
	char text[25];
};

/* Copies what it needs of conf; false: memory is out. */
bool access_line_rules_init(struct access_line_rules *, const struct log_conf *, struct arena *);
/* Returns the length, newline included. */
size_t access_line_format(const struct access_line_rules *, struct access_line_clock *,
			  const struct call_record *, char out[ACCESS_LINE_MAX]);

#endif
