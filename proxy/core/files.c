/* files.c - which file answers a call; see files.h. */
#include "core/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/reason.h"
#include "core/route.h"
#include "core/target.h"

/*---------------------------------------------------------------- making ready */

static bool make_tries(struct files *f, const struct respond_conf *conf,
		       const struct template_match *match, struct arena *arena, struct diags *diags)
{
	const char *const *text = conf->try.item;
	struct file_try *t = arena_zalloc(arena, (conf->try.n + 1) * sizeof(*t));
	bool ok = true;

	if (t == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	for (uint32_t i = 0; i < conf->try.n; i++) {
		t[i].folder = text[i][strlen(text[i]) - 1] == '/';
		ok = template_parse(&t[i].path, text[i], false, match, "`try`", conf->try_at, arena,
				    diags) &&
		     ok;
	}
	f->tried = t;
	f->n_try = conf->try.n;
	return ok;
}

static bool make_index(struct files *f, const struct conf_list *conf, struct arena *arena)
{
	static const struct slice usual = SLICE("index.html");
	const char *const *name = conf->item;
	struct slice *s = arena_zalloc(arena, (conf->n + 1) * sizeof(*s));

	if (s == NULL)
		return false;
	s[0] = usual;
	for (uint32_t i = 0; i < conf->n; i++)
		s[i] = slice_str(name[i]);
	f->index = s;
	f->n_index = conf->n > 0 ? conf->n : 1;
	return true;
}

static void make_otherwise(struct files *f, const char *text)
{
	if (text == NULL)
		return;
	if (text[0] == '/')
		f->path = slice_str(text);
	else if (strcmp(text, "next") == 0)
		f->next = true;
	else
		f->status =
		    (uint16_t)((text[0] - '0') * 100 + (text[1] - '0') * 10 + text[2] - '0');
}

bool files_prepare(struct files *f, const struct respond_conf *conf,
		   const struct template_match *match, const struct media_types *types,
		   struct arena *arena, struct diags *diags)
{
	static const struct slice unknown = SLICE("application/octet-stream");

	f->file = conf->file;
	f->folder = conf->files;
	f->anywhere = conf->links == LINKS_ANYWHERE;
	f->since = (enum since_rule)conf->since;
	f->types = types;
	f->type = conf->content_type != NULL ? slice_str(conf->content_type) : unknown;
	if (f->file != NULL && conf->content_type != NULL)
		f->types = NULL;
	make_otherwise(f, conf->otherwise);
	if (!make_index(f, &conf->index, arena)) {
		diags_out_of_memory(diags);
		return false;
	}
	return make_tries(f, conf, match, arena, diags);
}

/*---------------------------------------------------------------- looking */

struct look {
	const struct files *files;
	struct arena *arena;
	int folder;
	bool only; /* whether there is one is all that is asked */
};

static const struct reason *reason_of(int error)
{
	static const struct {
		int error;
		const struct reason *const *why;
	} rows[] = {
		{ ENOENT, &reason_no_file },       { ENOTDIR, &reason_no_file },
		{ ENAMETOOLONG, &reason_no_file }, { EACCES, &reason_file_refused },
		{ EPERM, &reason_file_refused },   { ELOOP, &reason_file_refused },
		{ EXDEV, &reason_file_refused },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].error == error)
			return *rows[i].why;
	return reason_file_failed;
}

/* `name`: below the folder, with a NUL behind it. */
static int open_below(const struct look *l, const char *name, int flags)
{
	struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC),
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };

	if (*name == '\0')
		name = ".";
	if (l->files->anywhere)
		return openat(l->folder, name, flags | O_CLOEXEC);
	return (int)syscall(SYS_openat2, l->folder, name, &how, sizeof(how));
}

static const struct reason *state(int fd, struct stat *st)
{
	const struct reason *why = fd < 0 || fstat(fd, st) != 0 ? reason_of(errno) : NULL;

	if (fd >= 0)
		close(fd);
	return why;
}

/* What stands there, without opening it. */
static const struct reason *look_at(const struct look *l, struct slice path, struct stat *st)
{
	return state(open_below(l, path.p + 1, O_PATH), st);
}

static void tell(const struct files *f, struct slice path, const struct stat *st,
		 struct file_found *found)
{
	struct slice type = media_type_of(f->types, path);

	found->path = path;
	found->type = type.p != NULL ? type : f->type;
	found->size = (uint64_t)st->st_size;
	found->modified_s = st->st_mtime;
}

/* It may have become something else since it was looked at. */
static const struct reason *take(const struct files *f, struct slice path, int fd,
				 struct file_found *found)
{
	struct stat st;

	if (fd < 0)
		return reason_of(errno);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return reason_no_file;
	}
	found->fd = fd;
	tell(f, path, &st, found);
	return NULL;
}

enum { HOW_TO_READ = O_RDONLY | O_NONBLOCK | O_NOCTTY };

static const struct reason *open_regular(const struct look *l, struct slice path,
					 const struct stat *st, struct file_found *found)
{
	if (!S_ISREG(st->st_mode))
		return reason_no_file;
	if (l->only)
		return NULL;
	return take(l->files, path, open_below(l, path.p + 1, HOW_TO_READ), found);
}

static struct slice join(const struct look *l, struct slice a, struct slice b)
{
	const char *p = arena_printf(l->arena, "%.*s%.*s", SLICE_FMT(a), SLICE_FMT(b));

	return slice_of(p, p == NULL ? 0 : a.n + b.n);
}

/* "/x/" */
static const struct reason *find_index(const struct look *l, struct slice path,
				       struct file_found *found)
{
	const struct reason *why;
	struct stat st;

	for (uint32_t i = 0; i < l->files->n_index; i++) {
		struct slice index = l->files->index[i];
		struct slice name = index.p[0] == '/' ? index : join(l, path, index);

		if (name.p == NULL)
			return reason_out_of_memory;
		why = look_at(l, name, &st);
		if (why == NULL && S_ISREG(st.st_mode))
			return open_regular(l, name, &st, found);
		if (why != NULL && why != reason_no_file)
			return why;
	}
	why = look_at(l, path, &st);
	if (why == NULL)
		why = S_ISDIR(st.st_mode) ? reason_file_refused : reason_no_file;
	return why;
}

static const struct reason *find_path(const struct look *l, struct slice path,
				      struct file_found *found)
{
	const struct reason *why;
	struct stat st;

	if (path.p[path.n - 1] == '/')
		return find_index(l, path, found);
	why = look_at(l, path, &st);
	if (why != NULL)
		return why;
	if (!S_ISDIR(st.st_mode))
		return open_regular(l, path, &st, found);
	found->path = path;
	found->is_folder = true;
	return NULL;
}

/*---------------------------------------------------------------- paths */

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A path in normal form as bytes; p NULL: no file is called so, or memory is out. */
static struct slice decode(struct slice path, struct arena *arena)
{
	char *p = arena_alloc(arena, path.n + 1);
	size_t n = 0;

	for (size_t i = 0; p != NULL && i < path.n; i++) {
		int high = path.p[i] == '%' && i + 2 < path.n ? hex(path.p[i + 1]) : -1;

		p[n++] = path.p[i];
		if (high >= 0)
			p[n - 1] = (char)(high << 4 | hex(path.p[i + 2]));
		if (high >= 0 && (p[n - 1] == '/' || p[n - 1] == '\0'))
			return slice_of(NULL, 0);
		i += high >= 0 ? 2 : 0;
	}
	if (p != NULL)
		p[n] = '\0';
	return slice_of(p, n);
}

/* Where the call would go, in normal form. */
static const struct reason *path_of(const struct route *r, const struct template_values *v,
				    struct slice *path)
{
	const struct reason *why;
	struct target target;

	*path = v->call->path;
	if (r == NULL || r->rewrite == NULL)
		return NULL;
	why = target_make(r, v, &target);
	if (why == NULL && target.path.p != v->call->req->path.p)
		*path = target.path;
	return why;
}

/* One path of `try`.  A folder is asked for without the slash that says that it is one. */
static const struct reason *find_try(const struct look *l, const struct file_try *t,
				     const struct template_values *v, struct file_found *found)
{
	struct slice path;
	struct stat st;

	if (!template_fill(&t->path, v, TEMPLATE_PATH, &path))
		return reason_out_of_memory;
	if (t->folder && path.n > 1)
		path.n--;
	path = path.n == 0 ? path : route_normal(path, l->arena);
	if (path.n > 0)
		path = decode(path, l->arena);
	if (path.n == 0 || look_at(l, path, &st) != NULL || (S_ISDIR(st.st_mode) != 0) != t->folder)
		return reason_no_file;
	return l->only ? NULL : find_path(l, path, found);
}

static const struct reason *find_tries(const struct look *l, const struct template_values *v,
				       struct slice path, struct file_found *found)
{
	struct call call = *v->call;
	struct template_values own = *v;

	call.path = path;
	own.call = &call;
	for (uint32_t i = 0; i < l->files->n_try; i++) {
		const struct reason *why = find_try(l, &l->files->tried[i], &own, found);

		if (why != reason_no_file)
			return why;
	}
	return reason_no_file;
}

static const struct reason *find_otherwise(const struct look *l, struct file_found *found,
					   uint16_t *status)
{
	*status = l->files->status;
	if (l->files->path.p == NULL)
		return reason_no_file;
	found->is_other = true;
	return find_path(l, l->files->path, found);
}

static const struct reason *find_below(const struct look *l, const struct route *r,
				       const struct template_values *v, struct file_found *found,
				       uint16_t *status)
{
	struct slice path, name;
	const struct reason *why = path_of(r, v, &path);

	if (why != NULL)
		return why;
	name = decode(path, l->arena);
	if (name.p == NULL)
		why = reason_no_file;
	else if (l->files->n_try > 0)
		why = find_tries(l, v, path, found);
	else
		why = find_path(l, name, found);
	if (found->path.p != NULL && name.p != NULL && found->is_folder)
		found->is_other = !slice_eq(found->path, name);
	return why != reason_no_file || l->only ? why : find_otherwise(l, found, status);
}

static const struct reason *find_one(const struct files *f, struct file_found *found)
{
	struct stat st;
	const struct reason *why = state(open(f->file, O_PATH | O_CLOEXEC), &st);

	if (why != NULL)
		return why;
	if (!S_ISREG(st.st_mode))
		return reason_no_file;
	return take(f, slice_str(f->file), open(f->file, HOW_TO_READ | O_CLOEXEC), found);
}

static const struct reason *find(const struct files *f, bool only, const struct route *r,
				 const struct template_values *v, struct file_found *found,
				 uint16_t *status)
{
	struct look l = { .files = f, .arena = v->call->arena, .only = only };
	const struct reason *why;

	*found = (struct file_found){ .fd = -1 };
	*status = 0;
	if (f->file != NULL)
		return find_one(f, found);
	l.folder = open(f->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (l.folder < 0)
		return reason_of(errno);
	why = find_below(&l, r, v, found, status);
	close(l.folder);
	return why;
}

const struct reason *files_find(const struct files *f, const struct route *r,
				const struct template_values *v, struct file_found *found,
				uint16_t *status)
{
	return find(f, false, r, v, found, status);
}

bool files_have(const struct files *f, const struct route *r, const struct template_values *v)
{
	struct template_values own = *v;
	struct file_found found;
	uint16_t status;

	own.match = &r->match;
	if (find(f, true, r, &own, &found, &status) != NULL)
		return false;
	return f->n_try > 0 || !found.is_folder;
}
