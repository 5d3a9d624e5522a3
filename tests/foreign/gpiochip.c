/* The kernel's side of a GPIO chip (linux/gpio.h, ABI v2) for a process that is loaded with this
 * (LD_PRELOAD): what it opens as /dev/gpiochipN, and each ioctl on that, is handed to the test, which
 * listens on the socket $GPIOCHIP_SOCKET and answers as a kernel would. A chip exists while there is a
 * file of its name in the directory $GPIOCHIP_DEV. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define CHIP "/dev/gpiochip"
#define FDS 1024
#define MAJOR 254

struct call { uint32_t request, handle; char data[1024]; };
struct reply { uint32_t error, handle; char data[1024]; };

/* Of each descriptor that is a chip or its lines, the number the test knows it by. */
static uint32_t handles[FDS];

/* Ask the test; returns what it answers as errno, and the descriptor it passed, or -1. */
static int ask(struct call *call, size_t size, struct reply *reply, int *fd)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct iovec in = { reply, sizeof *reply };
    union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
    struct msghdr message = { .msg_iov = &in, .msg_iovlen = 1,
                              .msg_control = &control, .msg_controllen = sizeof control };
    int line = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    *fd = -1;
    strncpy(address.sun_path, getenv("GPIOCHIP_SOCKET"), sizeof address.sun_path - 1);
    if (connect(line, (struct sockaddr *)&address, sizeof address) ||
        send(line, call, offsetof(struct call, data) + size, 0) < 0 ||
        recvmsg(line, &message, MSG_CMSG_CLOEXEC) < 8) {
        perror("gpiochip");
        abort();
    }
    close(line);
    if (CMSG_FIRSTHDR(&message))
        memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof *fd);
    if (*fd >= 0 && *fd < FDS)
        handles[*fd] = reply->handle;
    return (int)reply->error;
}

static int open_chip(const char *path)
{
    struct call call = { 0 };
    struct reply reply;
    int fd;

    strncpy(call.data, path + strlen("/dev/"), sizeof call.data - 1);
    errno = ask(&call, strlen(call.data), &reply, &fd);
    return errno ? -1 : fd;
}

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...)                                         \
    {                                                                                  \
        va_list more;                                                                  \
        va_start(more, flags);                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;        \
        va_end(more);                                                                  \
        if (!strncmp(path, CHIP, strlen(CHIP)))                                        \
            return open_chip(path);                                                    \
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);                  \
    }
OPEN(open)
OPEN(open64)

int ioctl(int fd, unsigned long request, ...)
{
    struct call call = { .request = (uint32_t)request };
    struct reply reply;
    size_t size = _IOC_SIZE(request);
    va_list more;
    int passed;

    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (fd < 0 || fd >= FDS || !handles[fd])
        return (int)syscall(SYS_ioctl, fd, request, argument);
    call.handle = handles[fd];
    memcpy(call.data, argument, size);
    if ((errno = ask(&call, size, &reply, &passed)))
        return -1;
    memcpy(argument, reply.data, size);
    if (request == GPIO_V2_GET_LINE_IOCTL)
        ((struct gpio_v2_line_request *)argument)->fd = passed;
    return 0;
}

/* A socket whose far end is closed has ended; a chip that is unplugged is not there. */
ssize_t read(int fd, void *buffer, size_t size)
{
    ssize_t count = syscall(SYS_read, fd, buffer, size);

    if (!count && size && fd >= 0 && fd < FDS && handles[fd]) {
        errno = ENODEV;
        return -1;
    }
    return count;
}

int close(int fd)
{
    if (fd >= 0 && fd < FDS)
        handles[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

static int look(const char *path, struct stat *status, int flags)
{
    char place[4096];
    int ours = !strncmp(path, CHIP, strlen(CHIP)), failed;

    if (ours)
        snprintf(place, sizeof place, "%s/%s", getenv("GPIOCHIP_DEV"), path + strlen("/dev/"));
    failed = (int)syscall(SYS_newfstatat, AT_FDCWD, ours ? place : path, status, flags);
    if (ours && !failed && S_ISREG(status->st_mode)) {
        status->st_mode = S_IFCHR | 0660;
        status->st_rdev = makedev(MAJOR, (unsigned)atoi(path + strlen(CHIP)));
    }
    return failed;
}

/* By all the names that C libraries have had for it. */
#define STAT(name, flags) int name(const char *path, struct stat *status) { return look(path, status, flags); }
#define XSTAT(name, flags) int name(int version, const char *path, struct stat *status) \
    { (void)version; return look(path, status, flags); }
STAT(stat, 0)
XSTAT(__xstat, 0)
XSTAT(__xstat64, 0)
STAT(lstat, AT_SYMLINK_NOFOLLOW)
XSTAT(__lxstat, AT_SYMLINK_NOFOLLOW)
XSTAT(__lxstat64, AT_SYMLINK_NOFOLLOW)
int stat64(const char *path, struct stat64 *status) { return look(path, (struct stat *)status, 0); }
int lstat64(const char *path, struct stat64 *status)
{
    return look(path, (struct stat *)status, AT_SYMLINK_NOFOLLOW);
}

char *realpath(const char *path, char *resolved)
{
    char *(*next)(const char *, char *) = (char *(*)(const char *, char *))dlsym(RTLD_NEXT, "realpath");
    char ours[32];

    snprintf(ours, sizeof ours, "/sys/dev/char/%d:", MAJOR);
    return strncmp(path, ours, strlen(ours)) ? next(path, resolved) : strdup("/sys/bus/gpio");
}

DIR *opendir(const char *path)
{
    DIR *(*next)(const char *) = (DIR *(*)(const char *))dlsym(RTLD_NEXT, "opendir");

    return next(strcmp(path, "/dev") ? path : getenv("GPIOCHIP_DEV"));
}
