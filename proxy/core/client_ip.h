/* client_ip.h - whose call it is: the peer, or the client that trusted forwarders name. */
#ifndef CORE_CLIENT_IP_H
#define CORE_CLIENT_IP_H

#include "core/config.h"
#include "http/head.h"

/* Whether what the peer says of others is believed: its address is in `trust`.  A peer on a unix
 * socket has no address; it is believed when anybody is, since only a process of this machine can
 * be there. */
bool client_ip_trusted(const struct client_ip_conf *, const struct addr *peer);

/* The peer (after PROXY protocol) when it is not trusted.  Else the last address of the configured
 * field that is not trusted; if all are, the first of them; if there is none, the peer.  What
 * stands left of something that is no address is not looked at: nobody who is trusted vouches for
 * it.  All zero: a unix socket. */
/* The same of one that is known, where that is trusted. */
struct ip client_ip_told(const struct client_ip_conf *, const struct ip *by, const struct head *);
struct ip client_ip_find(const struct client_ip_conf *, const struct addr *peer,
			 const struct head *);

#endif
