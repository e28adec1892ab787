/* log_words.c - nginx's words for what befalls calls (ngx_http_limit_req_module, ngx_http_limit_conn_module,
 * ngx_http_upstream, ngx_http_request, ngx_http_core_module, ngx_http_proxy_module). */
#include "nginx-compat/log_words.h"

#include "core/event_log.h"

#define TIMED_OUT "upstream timed out (110: Connection timed out) while {phase}"

static const struct event_words nginx_words = {
	.rate_refused = { "limiting requests, excess: {excess} by zone \"{policy}\"",
			  "limiting requests, dry run, excess: {excess} by zone \"{policy}\"" },
	.rate_delayed = { "delaying request, excess: {excess}, by zone \"{policy}\"",
			  "delaying request, dry run, excess: {excess}, by zone \"{policy}\"" },
	.concurrency_refused = { "limiting connections by zone \"{policy}\"",
				 "limiting connections, dry run, by zone \"{policy}\"" },
	.nowhere = "no live upstreams while connecting to upstream",
	.disabled = "upstream server temporarily disabled while {phase}",
	.connect_at_once = "connect() to {address} failed ({error}) while connecting to upstream",
	.broken = "recv() failed ({error}) while {phase}",
	.body_announced = "client intended to send too large body: {bytes} bytes",
	.reason = {
		[REASON_connect_failed] = "connect() failed ({error}) while connecting to upstream",
		[REASON_connect_timeout] = TIMED_OUT,
		[REASON_first_byte_timeout] = TIMED_OUT,
		[REASON_try_timeout] = TIMED_OUT,
		[REASON_idle_timeout] = TIMED_OUT,
		[REASON_tls_failed] = "SSL_do_handshake() failed while {phase}",
		[REASON_upstream_reset] = "upstream prematurely closed connection while {phase}",
		[REASON_upstream_truncated] = "upstream prematurely closed connection while {phase}",
		[REASON_upstream_malformed] = "upstream sent invalid header while {phase}",
		[REASON_upstream_head_too_large] = "upstream sent too big header while {phase}",
		[REASON_body_too_large] = "client intended to send too large chunked body: {bytes} bytes",
		[REASON_bad_request] = "client sent invalid request while reading client request line",
		[REASON_bad_host] = "client sent invalid host header while reading client request headers",
		[REASON_bad_field] = "client sent invalid header line while reading client request headers",
		[REASON_bad_framing] = "client sent invalid header line while reading client request headers",
		[REASON_bad_chunk] = "client sent invalid chunked body",
		[REASON_head_too_large] = "client sent too large request while reading client request headers",
		[REASON_target_too_long] = "client sent too long URI while reading client request line",
		[REASON_head_timeout] = "client timed out (110: Connection timed out) while reading client request headers",
		[REASON_body_timeout] = "client timed out (110: Connection timed out) while reading client request body",
	},
};

void log_words_use(void)
{
	event_words_use(&nginx_words);
}
