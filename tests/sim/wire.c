/* wire.c - a plain reader of HTTP/1 messages. */
#include "wire.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sim.h"

void wire_init(struct wire *w, bool is_response, const char *who, const struct wire_events *on,
	       void *owner)
{
	*w = (struct wire){ .on = on, .owner = owner, .who = who, .is_response = is_response };
	w->text = sim_alloc(WIRE_HEAD_MAX + 1);
}

void wire_fini(struct wire *w)
{
	free(w->text);
	w->text = NULL;
}

/*---------------------------------------------------------------- heads */

bool wire_field(const struct wire_head *h, const char *name, char *out, size_t size)
{
	size_t n = strlen(name);

	for (const char *line = strstr(h->text, "\r\n"); line != NULL;
	     line = strstr(line, "\r\n")) {
		const char *end;

		line += 2;
		if (strncasecmp(line, name, n) != 0 || line[n] != ':')
			continue;
		for (line += n + 1; *line == ' '; line++)
			;
		end = strstr(line, "\r\n");
		snprintf(out, size, "%.*s", (int)(end - line), line);
		return true;
	}
	return false;
}

uint64_t wire_field_number(const struct wire_head *h, const char *name)
{
	char value[32], *end;
	uint64_t n;

	if (!wire_field(h, name, value, sizeof(value)) || !isdigit((unsigned char)value[0]))
		return UINT64_MAX;
	n = strtoull(value, &end, 10);
	return *end == '\0' ? n : UINT64_MAX;
}

static unsigned count_field(const struct wire_head *h, const char *name)
{
	size_t n = strlen(name);
	unsigned count = 0;

	for (const char *line = strstr(h->text, "\r\n"); line != NULL;
	     line = strstr(line, "\r\n")) {
		line += 2;
		count += strncasecmp(line, name, n) == 0 && line[n] == ':';
	}
	return count;
}

static bool is_token_char(char c)
{
	return isalnum((unsigned char)c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Every line ends with CRLF, has a name and a colon right behind it, and no control characters. */
static void check_lines(const struct wire *w, const char *line)
{
	while (strcmp(line, "\r\n") != 0) {
		const char *end = strstr(line, "\r\n"), *colon = line;

		while (is_token_char(*colon))
			colon++;
		if (colon == line || *colon != ':')
			sim_fail("%s: a field without a name: %.*s", w->who, (int)(end - line),
				 line);
		for (const char *p = line; p < end; p++)
			if ((unsigned char)*p < ' ' && *p != '\t')
				sim_fail("%s: a control character in a field: %.*s", w->who,
					 (int)(end - line), line);
		line = end + 2;
	}
}

static void parse_start(const struct wire *w, struct wire_head *h)
{
	char version[16] = "";

	if (w->is_response) {
		if (sscanf(h->text, "%15s %3u", version, &h->status) != 2 || h->status < 100)
			sim_fail("%s: no status line: %.40s", w->who, h->text);
	} else if (sscanf(h->text, "%15s %511s %15s", h->method, h->target, version) != 3) {
		sim_fail("%s: no request line: %.40s", w->who, h->text);
	}
	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		sim_fail("%s: version %s", w->who, version);
	h->is_1_0 = strcmp(version, "HTTP/1.0") == 0;
}

static void parse_framing(const struct wire *w, struct wire_head *h)
{
	char value[128];

	if (wire_field(h, "Transfer-Encoding", value, sizeof(value))) {
		h->chunked = true;
		if (strcasecmp(value, "chunked") != 0)
			sim_fail("%s: transfer coding %s", w->who, value);
	}
	h->has_length = count_field(h, "Content-Length") > 0;
	if (h->has_length) {
		h->length = wire_field_number(h, "Content-Length");
		if (h->length == UINT64_MAX)
			sim_fail("%s: a Content-Length that is no number", w->who);
	}
	if (count_field(h, "Content-Length") + count_field(h, "Transfer-Encoding") > 1)
		sim_fail("%s: two framings: %s", w->who, h->text);
	h->keep_alive = !h->is_1_0;
	if (wire_field(h, "Connection", value, sizeof(value))) {
		if (strcasecmp(value, "close") == 0)
			h->keep_alive = false;
		else if (strcasecmp(value, "keep-alive") == 0)
			h->keep_alive = true;
	}
}

enum wire_state wire_body_state(const struct wire *w, const struct wire_head *h, bool no_body)
{
	if (no_body)
		return WIRE_HEAD;
	if (h->chunked)
		return WIRE_CHUNK_SIZE;
	if (h->has_length)
		return h->length > 0 ? WIRE_LENGTH : WIRE_HEAD;
	return w->is_response ? WIRE_UNTIL_CLOSE : WIRE_HEAD;
}

static void enter_body(struct wire *w, const struct wire_head *h, enum wire_state next)
{
	bool interim = w->is_response && h->status < 200 && h->status != 101;

	w->state = next;
	w->left = h->length;
	if (next == WIRE_HEAD && !interim)
		w->on->end(w, NULL);
}

static void take_head(struct wire *w)
{
	struct wire_head h = { .text = w->text };
	enum wire_state next;

	w->text[w->n] = '\0';
	if (strlen(w->text) != w->n)
		sim_fail("%s: a NUL in a head", w->who);
	parse_start(w, &h);
	check_lines(w, strstr(w->text, "\r\n") + 2);
	parse_framing(w, &h);
	next = w->on->head(w, &h);
	w->n = 0;
	if (w->state != WIRE_OVER)
		enter_body(w, &h, next);
}

/* Gathers until the text ends with `stop`, which is lines; true: it does. */
static bool gather(struct wire *w, const char **p, size_t *n, const char *stop, size_t most)
{
	size_t length = strlen(stop);

	while (*n > 0) {
		bool ends = **p == '\n';

		w->text[w->n++] = *(*p)++;
		(*n)--;
		if (ends && (w->n < 2 || w->text[w->n - 2] != '\r'))
			sim_fail("%s: a bare LF", w->who);
		if (ends && w->n >= length && memcmp(w->text + w->n - length, stop, length) == 0)
			return true;
		if (w->n >= most)
			sim_fail("%s: a line or head without end: %.60s", w->who, w->text);
	}
	return false;
}

/*---------------------------------------------------------------- bodies */

static void take_chunk_size(struct wire *w)
{
	char *end;

	w->text[w->n] = '\0';
	w->left = strtoull(w->text, &end, 16);
	if (end == w->text || strcmp(end, "\r\n") != 0)
		sim_fail("%s: a bad chunk size: %s", w->who, w->text);
	w->state = w->left > 0 ? WIRE_CHUNK_DATA : WIRE_TRAILERS;
	w->n = 0;
	if (w->left == 0) { /* so that an empty trailer section ends with an empty line, too */
		memcpy(w->text, "\r\n", 2);
		w->n = 2;
	}
}

static void take_trailers(struct wire *w)
{
	struct wire_head h = { .text = w->text };
	bool some = w->n > 4;

	w->text[w->n] = '\0';
	check_lines(w, w->text + 2);
	w->state = WIRE_HEAD;
	w->n = 0;
	w->on->end(w, some ? &h : NULL);
}

static void take_data(struct wire *w, const char **p, size_t *n)
{
	bool bounded = w->state == WIRE_LENGTH || w->state == WIRE_CHUNK_DATA;
	size_t some = bounded && w->left < *n ? (size_t)w->left : *n;

	w->on->body(w, *p, some);
	*p += some;
	*n -= some;
	w->left -= bounded ? some : 0;
	if (!bounded || w->left > 0)
		return;
	if (w->state == WIRE_CHUNK_DATA) {
		w->state = WIRE_CHUNK_END;
	} else if (w->state == WIRE_LENGTH) {
		w->state = WIRE_HEAD;
		w->on->end(w, NULL);
	}
}

static void step(struct wire *w, const char **p, size_t *n)
{
	switch (w->state) {
	case WIRE_HEAD:
		if (gather(w, p, n, "\r\n\r\n", WIRE_HEAD_MAX))
			take_head(w);
		return;
	case WIRE_CHUNK_SIZE:
		if (gather(w, p, n, "\r\n", WIRE_LINE_MAX))
			take_chunk_size(w);
		return;
	case WIRE_CHUNK_END:
		if (!gather(w, p, n, "\r\n", 2))
			return;
		w->state = WIRE_CHUNK_SIZE;
		w->n = 0;
		return;
	case WIRE_TRAILERS:
		if (gather(w, p, n, "\r\n\r\n", WIRE_HEAD_MAX))
			take_trailers(w);
		return;
	case WIRE_OVER:
		sim_fail("%s: bytes behind the last message: %.*s", w->who,
			 (int)(*n < 60 ? *n : 60), *p);
	default:
		take_data(w, p, n);
	}
}

void wire_feed(struct wire *w, const char *p, size_t n)
{
	while (n > 0)
		step(w, &p, &n);
}

bool wire_eof(struct wire *w)
{
	if (w->state == WIRE_UNTIL_CLOSE || w->state == WIRE_RAW) {
		w->state = WIRE_OVER;
		w->on->end(w, NULL);
		return true;
	}
	return w->state == WIRE_OVER || (w->state == WIRE_HEAD && w->n == 0);
}
