/* media_types.c - what a file's name says of what is in it: by the ending of the name. */
#include <stdlib.h>

#include "core/files.h"

#define T(extension_, type_)                                         \
	{                                                            \
		.extension = SLICE(extension_), .type = SLICE(type_) \
	}

/* In order. */
static const struct media_type usual[] = {
	T("7z", "application/x-7z-compressed"),
	T("avif", "image/avif"),
	T("bmp", "image/bmp"),
	T("css", "text/css"),
	T("csv", "text/csv"),
	T("eot", "application/vnd.ms-fontobject"),
	T("epub", "application/epub+zip"),
	T("gif", "image/gif"),
	T("gz", "application/gzip"),
	T("htm", "text/html"),
	T("html", "text/html"),
	T("ico", "image/x-icon"),
	T("ics", "text/calendar"),
	T("jpeg", "image/jpeg"),
	T("jpg", "image/jpeg"),
	T("js", "text/javascript"),
	T("json", "application/json"),
	T("jsonld", "application/ld+json"),
	T("m4a", "audio/mp4"),
	T("map", "application/json"),
	T("md", "text/markdown"),
	T("mjs", "text/javascript"),
	T("mov", "video/quicktime"),
	T("mp3", "audio/mpeg"),
	T("mp4", "video/mp4"),
	T("mpeg", "video/mpeg"),
	T("oga", "audio/ogg"),
	T("ogg", "audio/ogg"),
	T("ogv", "video/ogg"),
	T("otf", "font/otf"),
	T("pdf", "application/pdf"),
	T("png", "image/png"),
	T("rss", "application/rss+xml"),
	T("rtf", "application/rtf"),
	T("svg", "image/svg+xml"),
	T("tar", "application/x-tar"),
	T("tif", "image/tiff"),
	T("tiff", "image/tiff"),
	T("ttf", "font/ttf"),
	T("txt", "text/plain"),
	T("wasm", "application/wasm"),
	T("wav", "audio/wav"),
	T("weba", "audio/webm"),
	T("webm", "video/webm"),
	T("webmanifest", "application/manifest+json"),
	T("webp", "image/webp"),
	T("woff", "font/woff"),
	T("woff2", "font/woff2"),
	T("xhtml", "application/xhtml+xml"),
	T("xml", "text/xml"),
	T("yaml", "application/yaml"),
	T("yml", "application/yaml"),
	T("zip", "application/zip"),
};

static const struct media_types built_in = { .n = sizeof(usual) / sizeof(usual[0]), .item = usual };

static int in_order(const void *a, const void *b)
{
	const struct media_type *x = a, *y = b;
	size_t n = x->extension.n < y->extension.n ? x->extension.n : y->extension.n;
	int order = memcmp(x->extension.p, y->extension.p, n);

	return order != 0                        ? order
	       : x->extension.n < y->extension.n ? -1
						 : x->extension.n > y->extension.n;
}

static struct slice lower(struct slice s, char *out)
{
	for (size_t i = 0; i < s.n; i++)
		out[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i];
	return slice_of(out, s.n);
}

const struct media_types *media_types_prepare(const struct conf_list *conf, struct arena *arena,
					      struct diags *diags)
{
	const struct type_conf *c = conf->item;
	struct media_types *types = arena_zalloc(arena, sizeof(*types));
	struct media_type *item = arena_zalloc(arena, (conf->n + 1) * sizeof(*item));

	if (conf->n == 0)
		return &built_in;
	for (uint32_t i = 0; types != NULL && item != NULL && i < conf->n; i++) {
		struct slice name = slice_str(c[i].name.name);
		char *text = arena_alloc(arena, name.n + 1);

		if (text == NULL)
			break;
		item[i] = (struct media_type){ .extension = lower(name, text),
					       .type = slice_str(c[i].type) };
		types->n++;
	}
	if (types == NULL || types->n < conf->n) {
		diags_out_of_memory(diags);
		return NULL;
	}
	qsort(item, types->n, sizeof(*item), in_order);
	types->item = item;
	return types;
}

struct slice media_type_of(const struct media_types *types, struct slice name)
{
	static const struct slice none = { .p = NULL };
	char text[MEDIA_EXTENSION_MAX];
	struct media_type wanted;
	const struct media_type *found;
	size_t n = 0;

	while (n < name.n && name.p[name.n - n - 1] != '.' && name.p[name.n - n - 1] != '/')
		n++;
	if (types == NULL || n == name.n || name.p[name.n - n - 1] != '.' || n == 0 ||
	    n > sizeof(text))
		return none;
	wanted.extension = lower(slice_of(name.p + name.n - n, n), text);
	found = bsearch(&wanted, types->item, types->n, sizeof(wanted), in_order);
	return found == NULL ? none : found->type;
}
