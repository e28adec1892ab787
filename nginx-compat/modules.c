/* modules.c - the words of nginx's `configure`, from the table of directives: a module is there when the row of its most
 * telling directive is not lost.  Whoever teaches Weir a module changes the row, and this follows. */
#include "nginx-compat/modules.h"

#include "nginx-compat/table.h"

struct module {
	const char *name, *telling; /* NULL: it is there */
};

/* nginx has them unless it is told not to. */
static const struct module usual[] = {
	{ "http_charset_module", "source_charset" },
	{ "http_gzip_module", "gzip_types" },
	{ "http_ssi_module", "ssi" },
	{ "http_userid_module", "userid" },
	{ "http_access_module", "allow" },
	{ "http_auth_basic_module", "auth_basic" },
	{ "http_mirror_module", "mirror" },
	{ "http_autoindex_module", "autoindex" },
	{ "http_geo_module", "geo" },
	{ "http_map_module", "map" },
	{ "http_split_clients_module", "split_clients" },
	{ "http_referer_module", "valid_referers" },
	{ "http_rewrite_module", NULL },
	{ "http_proxy_module", "proxy_pass" },
	{ "http_fastcgi_module", "fastcgi_pass" },
	{ "http_uwsgi_module", "uwsgi_pass" },
	{ "http_scgi_module", "scgi_pass" },
	{ "http_grpc_module", "grpc_pass" },
	{ "http_memcached_module", "memcached_pass" },
	{ "http_limit_conn_module", "limit_conn" },
	{ "http_limit_req_module", "limit_req" },
	{ "http_empty_gif_module", "empty_gif" },
	{ "http_browser_module", "modern_browser" },
	{ "http_upstream_hash_module", "hash" },
	{ "http_upstream_ip_hash_module", "ip_hash" },
	{ "http_upstream_least_conn_module", "least_conn" },
	{ "http_upstream_least_time_module", "least_time" },
	{ "http_upstream_random_module", "random" },
	{ "http_upstream_keepalive_module", "keepalive" },
	{ "http_upstream_zone_module", "zone" },
	{ "http_upstream_sticky_module", "sticky" },
	{ "http_tunnel_module", "tunnel_pass" },
	{ "http-cache", "proxy_cache" },
};

/* It has these when it is told. */
static const struct module others[] = {
	{ "http_ssl_module", "ssl_certificate" },
	{ "http_v2_module", "http2" },
	{ "http_v3_module", "http3" },
	{ "http_realip_module", "set_real_ip_from" },
	{ "http_addition_module", "add_before_body" },
	{ "http_sub_module", "sub_filter" },
	{ "http_dav_module", "dav_methods" },
	{ "http_flv_module", "flv" },
	{ "http_mp4_module", "mp4" },
	{ "http_gunzip_module", "gunzip" },
	{ "http_gzip_static_module", "gzip_static" },
	{ "http_auth_request_module", "auth_request" },
	{ "http_random_index_module", "random_index" },
	{ "http_secure_link_module", "secure_link" },
	{ "http_slice_module", "slice" },
	{ "http_stub_status_module", "stub_status" },
	{ "stream", "stream" },
	{ "mail", "mail" },
};

static bool is_there(const struct module *m)
{
	const struct directive_rule *r = m->telling == NULL ? NULL : table_find(m->telling);

	return m->telling == NULL || (r != NULL && r->verdict != LOST && r->verdict != CLOSES);
}

void modules_words(struct buf *out)
{
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (is_there(&others[i]))
			buf_printf(out, " --with-%s", others[i].name);
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (!is_there(&usual[i]))
			buf_printf(out, " --without-%s", usual[i].name);
}
