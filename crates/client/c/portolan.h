/* Connections from the broker on this host, as descriptors. C99 and POSIX; link nothing else.
 *
 *   int fd = portolan_connect("pong", error, sizeof error);
 *   if (fd < 0) fprintf(stderr, "%s\n", error);
 *
 * A name is a service or a URI (tcp://host:port/service). IPC_NETWORK is honoured, and PORTOLAN_BROKER says where
 * the broker is; else it is looked for in $XDG_RUNTIME_DIR and /run. */
#ifndef PORTOLAN_H
#define PORTOLAN_H

#include <stddef.h>

/* A connected descriptor that is close-on-exec, or -1 with what was wrong in `error`, which may be NULL. */
int portolan_connect(const char *name, char *error, size_t error_size);

/* What systemd, or `portolan run --listen`, handed this program to accept on: the first descriptor, or -1. */
int portolan_listener(void);

#endif
