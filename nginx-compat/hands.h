/* hands.h - nginx's command line. */
#ifndef NGINX_COMPAT_HANDS_H
#define NGINX_COMPAT_HANDS_H

#include "core/cli.h"

/* The program as `nginx` would be called: -c -p -g -e -s -t -T -q -v -V -h. */
int hands_main(int argc, char **argv, const struct cli_host *);
/* `weir run --nginx-conf FILE`: in the foreground, without a pid file or error log unless the file names one. */
int hands_run(const char *path, const struct cli_host *);

#endif
