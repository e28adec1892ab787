/* main.c - the program: what the command line cannot reach from its own room. */
#include <event2/event.h>
#include <fcntl.h>
#include <unistd.h>

#include "admin/admin.h"
#include "core/cli.h"
#include "ctl/ctl.h"
#include "nginx-compat/hands.h"
#include "nginx-compat/import.h"

/* Whoever starts us may have closed them: what is opened next must not be what is written to as
 * stdout or stderr. */
static void fill_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	const struct cli_host host = {
		.ctl = ctl_commands(),
		.import_nginx = import_command,
		.nginx = hands_main,
		.run_nginx = hands_run,
		.services = { .probes = &probes_service, .admin = &admin_service },
		.event_version = event_get_version(),
		.event_built = LIBEVENT_VERSION,
	};

	fill_standard_streams();
	return cli_main(argc, argv, &host);
}
