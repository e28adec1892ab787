/* modules.h - which modules of nginx Weir can stand in for. */
#ifndef NGINX_COMPAT_MODULES_H
#define NGINX_COMPAT_MODULES_H

#include "base/buf.h"

/* The words of nginx's `configure` that are true of Weir, a space before each. */
void modules_words(struct buf *);

#endif
