/* ctl.h - the commands behind `weir ctl`. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

struct cli_command;

/* Ends with one without a name. */
const struct cli_command *ctl_commands(void);

#endif
