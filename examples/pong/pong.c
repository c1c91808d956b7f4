/* The pong service and its client.
 *
 *   cc -I crates/client/c -o pong examples/pong/pong.c crates/client/c/portolan.c
 *   portolan run pongd --listen -- ./pong serve
 *   ./pong [NAME]                                  NAME is pongd, or a URI
 */
#include "portolan.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int serve(void) {
    int listener = portolan_listener();
    if (listener < 0) {
        fputs("nobody handed a socket over: start it with `portolan run pongd --listen -- ...`\n", stderr);
        return 1;
    }
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) continue;
        char said[4096];
        for (ssize_t length; (length = read(connection, said, sizeof said - 1)) > 0;) {
            said[length] = 0;
            for (char *at = said; (at = strstr(at, "ping")); at++) at[1] = 'o';
            if (write(connection, said, (size_t)length) != length) break;
        }
        close(connection);
    }
}

int main(int count, char **words) {
    const char *name = count > 1 ? words[1] : "pongd";
    if (!strcmp(name, "serve")) return serve();
    char text[4096];
    int fd = portolan_connect(name, text, sizeof text);
    if (fd < 0) {
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    if (write(fd, "ping\n", 5) != 5) return 1;
    ssize_t length = read(fd, text, sizeof text);
    if (length <= 0) return 1;
    fwrite(text, 1, (size_t)length, stdout);
    return 0;
}
