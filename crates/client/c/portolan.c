#define _GNU_SOURCE
#include "portolan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LONGEST 65536

static int fail(char *error, size_t size, const char *what, const char *why) {
    if (error && size) snprintf(error, size, "%s: %s", what, why);
    return -1;
}

static int reach(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int broker(void) {
    const char *named = getenv("PORTOLAN_BROKER"), *folder = getenv("XDG_RUNTIME_DIR");
    if (named && *named) return reach(named);
    char own[sizeof((struct sockaddr_un *)0)->sun_path];
    if (folder && *folder && snprintf(own, sizeof own, "%s/portolan/broker.sock", folder) < (int)sizeof own) {
        int fd = reach(own);
        if (fd >= 0) return fd;
    }
    return reach("/run/portolan/broker.sock");
}

/* Appends `text` as the inside of a JSON string; NULL when it does not fit. */
static char *quoted(char *to, const char *end, const char *text) {
    for (; to && *text; text++) {
        unsigned char c = (unsigned char)*text;
        int plain = c >= 0x20 && c != '"' && c != '\\';
        if (end - to < 7) return NULL;
        if (plain) *to++ = (char)c;
        else to += sprintf(to, "\\u%04x", c);
    }
    return to;
}

static char *add(char *to, const char *end, const char *text) {
    size_t length = strlen(text);
    if (!to || (size_t)(end - to) <= length) return NULL;
    memcpy(to, text, length + 1);
    return to + length;
}

static size_t request(char *to, const char *name, const char *network) {
    char *at = to, *end = to + LONGEST;
    at = add(at, end, "{\"v\":1,\"op\":\"connect\",\"name\":\"");
    at = quoted(at, end, name);
    if (network && *network) at = quoted(add(at, end, "\",\"network\":\""), end, network);
    at = add(at, end, "\"}");
    return at ? (size_t)(at - to) : 0;
}

/* The answer's descriptor. All that come are taken, and closed but for the first. */
static int answer(int socket, char *to, char *error, size_t size) {
    struct iovec part = {.iov_base = to, .iov_len = LONGEST - 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t length;
    do length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length <= 0) return fail(error, size, "portolan: the broker's answer", length ? strerror(errno) : "none came");
    to[length] = 0;
    int first = -1;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t at = 0; at < count; at++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + at * sizeof(int), sizeof fd);
            if (first < 0) first = fd;
            else close(fd);
        }
    }
    if (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
        if (first >= 0) close(first);
        return fail(error, size, "portolan: the broker's answer", "descriptors were lost on the way");
    }
    if (first >= 0) return first;
    char *why = strstr(to, "\"message\":\"");
    if (!why) return fail(error, size, "portolan: the broker's answer", "it has no descriptor");
    why += strlen("\"message\":\"");
    char *from = why, *out = why;
    /* Quotes and backslashes in it are the only escapes that a sentence needs. */
    while (*from && *from != '"') {
        if (*from == '\\' && from[1]) from++;
        *out++ = *from++;
    }
    *out = 0;
    return fail(error, size, "portolan", why);
}

int portolan_connect(const char *name, char *error, size_t error_size) {
    int socket = broker();
    if (socket < 0) return fail(error, error_size, "portolan: reach the broker", strerror(errno));
    char *packet = malloc(LONGEST);
    size_t length = packet ? request(packet, name, getenv("IPC_NETWORK")) : 0;
    int connection;
    if (!length)
        connection = fail(error, error_size, "portolan", "the name and IPC_NETWORK are too long");
    else if (send(socket, packet, length, MSG_NOSIGNAL) < 0)
        connection = fail(error, error_size, "portolan: ask the broker", strerror(errno));
    else
        connection = answer(socket, packet, error, error_size);
    free(packet);
    close(socket);
    return connection;
}

int portolan_listener(void) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || atol(pid) != (long)getpid() || atoi(count) < 1) return -1;
    fcntl(3, F_SETFD, FD_CLOEXEC);
    return 3;
}
