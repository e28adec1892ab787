/* file_answer.c - from a file to an answer; see file_answer.h.
 *
 * An answer with a status of its own (a page for an error) is the whole file, whatever the call
 * asks for.  Else the call is for the file itself, and preconditions and ranges are heeded. */
#include "core/file_answer.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/reason.h"
#include "core/action.h"
#include "http/date.h"
#include "http/range.h"

struct making {
	const struct respond *respond;
	const struct template_values *values;
	const struct head *req;
	struct head *head;
	struct arena *arena;
	struct file_found found;
	struct validator validator;
	struct ranges ranges;
	struct file_answer *out;
};

static bool add_text(struct head *h, const char *name, const char *value)
{
	return value != NULL && head_add_name(h, slice_str(name), slice_str(value));
}

static void drop_body(struct making *m)
{
	if (m->found.fd >= 0)
		close(m->found.fd);
	m->found.fd = -1;
	m->head->body = BODY_NONE;
	m->head->length = 0;
}

/*---------------------------------------------------------------- pieces */

static struct file_piece *make_pieces(struct making *m, uint32_t n)
{
	struct file_piece *p = arena_zalloc(m->arena, n * sizeof(*p));

	m->out->piece = p;
	m->out->n = n;
	return p;
}

static bool send_all(struct making *m)
{
	struct file_piece *p = make_pieces(m, 1);

	m->head->body = BODY_LENGTH;
	m->head->length = m->found.size;
	if (p != NULL)
		p->n = m->found.size;
	return p != NULL;
}

static const char *range_text(struct making *m, const struct range *r)
{
	return arena_printf(m->arena, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, r->at,
			    r->at + r->n - 1, m->found.size);
}

static bool send_one_part(struct making *m)
{
	const struct range *r = &m->ranges.item[0];
	struct file_piece *p = make_pieces(m, 1);

	if (p == NULL)
		return false;
	*p = (struct file_piece){ .at = r->at, .n = r->n };
	m->head->length = r->n;
	return add_text(m->head, "Content-Range", range_text(m, r));
}

/* RFC 9110 section 14.6. */
static bool send_parts(struct making *m, const char *boundary)
{
	uint32_t n = m->ranges.n;
	struct file_piece *p = make_pieces(m, n + 1);
	bool ok = p != NULL;

	for (uint32_t i = 0; ok && i <= n; i++) {
		const struct range *r = &m->ranges.item[i];
		const char *text =
		    i == n ? arena_printf(m->arena, "\r\n--%s--\r\n", boundary)
			   : arena_printf(m->arena,
					  "\r\n--%s\r\nContent-Type: %.*s\r\n"
					  "Content-Range: %s\r\n\r\n",
					  boundary, SLICE_FMT(m->found.type), range_text(m, r));

		ok = text != NULL;
		if (ok)
			p[i].text = slice_str(text);
		if (ok && i < n)
			p[i].at = r->at, p[i].n = r->n;
		if (ok)
			m->head->length += p[i].text.n + p[i].n;
	}
	m->found.type = slice_str(
	    ok ? arena_printf(m->arena, "multipart/byteranges; boundary=%s", boundary) : "");
	return ok && m->found.type.p != NULL;
}

static bool send_ranges(struct making *m)
{
	m->head->status = 206;
	m->head->body = BODY_LENGTH;
	m->head->length = 0;
	if (m->ranges.n == 1)
		return send_one_part(m);
	return send_parts(m, arena_printf(m->arena, "%016" PRIx64 "%016" PRIx64, m->found.size,
					  (uint64_t)m->found.modified_s));
}

/*---------------------------------------------------------------- heads */

static bool refuse_range(struct making *m)
{
	drop_body(m);
	m->head->status = 416;
	m->head->body = BODY_LENGTH;
	return add_text(m->head, "Content-Range",
			arena_printf(m->arena, "bytes */%" PRIu64, m->found.size));
}

static bool make_validator(struct making *m)
{
	const char *etag = arena_printf(m->arena, "\"%" PRIx64 "-%" PRIx64 "\"",
					(uint64_t)m->found.modified_s, m->found.size);

	m->validator = (struct validator){ .etag = slice_str(etag),
					   .modified_s = m->found.modified_s,
					   .size = m->found.size,
					   .since = m->respond->files->since };
	return etag != NULL;
}

static bool add_validators(struct making *m)
{
	char date[DATE_BYTES];
	struct slice modified = arena_copy(m->arena, date_put(date, m->found.modified_s));

	return modified.p != NULL &&
	       (modified.n == 0 || add_text(m->head, "Last-Modified", modified.p)) &&
	       add_text(m->head, "ETag", m->validator.etag.p);
}

static bool choose_parts(struct making *m)
{
	switch (range_of(m->req, &m->validator, &m->ranges)) {
	case RANGE_NONE:
		return refuse_range(m);
	case RANGE_PART:
		if (!send_ranges(m))
			return false;
		break;
	default:
		if (!send_all(m) || !add_text(m->head, "Accept-Ranges", "bytes"))
			return false;
	}
	return add_validators(m) &&
	       (m->found.type.n == 0 || head_add(m->head, F_CONTENT_TYPE, m->found.type));
}

static bool answer_call(struct making *m)
{
	uint16_t status;

	m->head->status = 200;
	if (!make_validator(m))
		return false;
	status = precondition_status(m->req, &m->validator);
	if (status == 0)
		return choose_parts(m);
	drop_body(m);
	m->head->status = status;
	if (status == 412)
		m->head->body = BODY_LENGTH;
	return status == 412 || add_validators(m);
}

static bool answer_as(struct making *m, uint16_t status)
{
	m->head->status = status;
	return send_all(m) &&
	       (m->found.type.n == 0 || head_add(m->head, F_CONTENT_TYPE, m->found.type));
}

static const char *encode(struct making *m, struct slice path)
{
	static const char hex[] = "0123456789ABCDEF", plain[] = "-._~/!$&'()*+,;=:@";
	char *out = arena_alloc(m->arena, path.n * 3 + 1), *p = out;

	for (size_t i = 0; out != NULL && i < path.n; i++) {
		unsigned char c = (unsigned char)path.p[i];
		bool keep = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			    (c >= 'A' && c <= 'Z') || (c != 0 && strchr(plain, c) != NULL);

		*p++ = keep ? (char)c : '%';
		if (keep)
			continue;
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	if (out != NULL)
		*p = '\0';
	return out;
}

/* Below a folder paths are relative to it: it gets its slash (RFC 9110 section 15.4.2). */
static bool lead_to_folder(struct making *m)
{
	const struct call *call = m->values->call;
	struct slice path = call->path, query = m->req->query, origin = SLICE("");
	const char *to;

	if (m->respond->has_location &&
	    !template_fill(&m->respond->location, m->values, TEMPLATE_URI, &origin))
		return false;

	if (m->found.is_other)
		path = slice_str(encode(m, m->found.path));
	to = path.p == NULL ? NULL
			    : arena_printf(m->arena, "%.*s%.*s/%s%.*s", SLICE_FMT(origin),
					   SLICE_FMT(path), query.n > 0 ? "?" : "",
					   SLICE_FMT(query));
	m->head->status = 301;
	m->head->body = BODY_LENGTH;
	return to != NULL && head_add(m->head, F_LOCATION, slice_str(to));
}

static const struct reason *method_reason(const struct head *req)
{
	return req->method_id == METHOD_GET || req->method_id == METHOD_HEAD
		   ? NULL
		   : reason_method_refused;
}

static bool fill(struct making *m, uint16_t status)
{
	if (m->found.is_folder ? !lead_to_folder(m)
	    : status != 0      ? !answer_as(m, status)
			       : !answer_call(m))
		return false;
	if (m->req->method_id == METHOD_HEAD && m->found.fd >= 0) {
		close(m->found.fd);
		m->found.fd = -1;
	}
	return action_add_fields(m->respond, m->values, m->head);
}

const struct reason *file_answer_make(const struct respond *r, const struct route *route,
				      const struct template_values *v, struct head *h,
				      struct file_answer *out, uint16_t *status)
{
	struct making m = { .respond = r, .values = v, .req = v->call->req, .head = h, .out = out };
	uint16_t as = r->status != 0 ? r->status : h->status;
	const struct reason *why, *refused = as == 0 ? method_reason(m.req) : NULL;

	m.arena = v->call->arena;
	*out = (struct file_answer){ .fd = -1 };
	*status = 0;
	if (refused != NULL && m.req->method_id != METHOD_POST)
		return refused;
	why = files_find(r->files, route, v, &m.found, status);
	if (why == NULL && refused != NULL && !m.found.is_folder)
		why = refused;
	if (why == NULL && !fill(&m, as))
		why = reason_out_of_memory;
	if (why != NULL && m.found.fd >= 0)
		close(m.found.fd);
	else
		out->fd = m.found.fd;
	return why;
}
