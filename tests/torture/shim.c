/* A destination that fails on demand, by LD_PRELOAD.
 *
 * shim_arm(folder, nth, error, mode) makes the nth call (from 1) that changes something in the
 * folder, or below it, fail with this error. Modes:
 *   0  that call only
 *   1  from then on every call that needs room: the disk is full
 *   2  as 1, but that call, if it is a write, still writes a part of what it was asked to
 *   3  from then on every call: the disk is gone
 * Calls are counted from shim_arm on; shim_calls() and shim_failed() tell how many there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ONCE, FULL, SHORT, GONE };
enum { PASS, FAIL, HALF };

static char folder[PATH_MAX];
static long nth;
static int error, mode;
static atomic_long calls, failed;

void shim_arm(const char *where, long number, int with, int how)
{
    atomic_store(&calls, 0);
    atomic_store(&failed, 0);
    nth = number;
    error = with;
    mode = how;
    snprintf(folder, sizeof folder, "%s", where);
}

long shim_calls(void) { return atomic_load(&calls); }
long shim_failed(void) { return atomic_load(&failed); }

static int is_below(const char *path)
{
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length) && (!path[length] || path[length] == '/');
}

static int is_file_below(int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t length;
    int kept = errno;

    if (!folder[0])
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

/* What becomes of this call; needs_room: it would need space on the disk. */
static int judge(int here, int needs_room)
{
    long number;

    if (!here)
        return PASS;
    number = atomic_fetch_add(&calls, 1) + 1;
    if (number < nth || (mode == ONCE && number > nth))
        return PASS;
    if ((mode == FULL || mode == SHORT) && !needs_room)
        return PASS;
    if (atomic_fetch_add(&failed, 1) == 0 && mode == SHORT)
        return HALF;
    errno = error;
    return FAIL;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size)
{
    int what = judge(is_file_below(fd), 1);
    return what == FAIL ? -1 : REAL(write)(fd, data, what == HALF && size > 1 ? size / 2 : size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    int what = judge(is_file_below(fd), 1);
    if (what == FAIL)
        return -1;
    return REAL(pwrite64)(fd, data, what == HALF && size > 1 ? size / 2 : size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return pwrite64(fd, data, size, at);
}

ssize_t pwritev64v2(int fd, const struct iovec *list, int count, off64_t at, int flags)
{
    int what = judge(is_file_below(fd), 1);
    if (what == FAIL)
        return -1;
    if (what == HALF && count && list[count - 1].iov_len > 1) {
        if (count > 1)
            return REAL(pwritev64v2)(fd, list, count - 1, at, flags);
        struct iovec half = { list[0].iov_base, list[0].iov_len / 2 };
        return REAL(pwritev64v2)(fd, &half, 1, at, flags);
    }
    return REAL(pwritev64v2)(fd, list, count, at, flags);
}

ssize_t pwritev2(int fd, const struct iovec *list, int count, off_t at, int flags)
{
    return pwritev64v2(fd, list, count, at, flags);
}

ssize_t pwritev64(int fd, const struct iovec *list, int count, off64_t at)
{
    return pwritev64v2(fd, list, count, at, 0);
}

ssize_t pwritev(int fd, const struct iovec *list, int count, off_t at)
{
    return pwritev64v2(fd, list, count, at, 0);
}

int fsync(int fd) { return judge(is_file_below(fd), 1) == FAIL ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return judge(is_file_below(fd), 1) == FAIL ? -1 : REAL(fdatasync)(fd); }

/* Linux closes the file whatever close returns. Files that were only read do not count. */
int close(int fd)
{
    int flags = folder[0] ? fcntl(fd, F_GETFL) : 0;
    int what = judge((flags & O_ACCMODE) != O_RDONLY && is_file_below(fd), 0);
    int status = REAL(close)(fd);

    if (what != FAIL)
        return status;
    errno = error;
    return -1;
}

int ftruncate64(int fd, off64_t size)
{
    return judge(is_file_below(fd), 0) == FAIL ? -1 : REAL(ftruncate64)(fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int truncate64(const char *path, off64_t size)
{
    return judge(is_below(path), 0) == FAIL ? -1 : REAL(truncate64)(path, size);
}

int truncate(const char *path, off_t size) { return truncate64(path, size); }

int link(const char *from, const char *to)
{
    return judge(is_below(to), 1) == FAIL ? -1 : REAL(link)(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    return judge(is_below(to), 1) == FAIL ? -1 : REAL(linkat)(a, from, b, to, flags);
}

int rename(const char *from, const char *to)
{
    return judge(is_below(to), 1) == FAIL ? -1 : REAL(rename)(from, to);
}

int renameat(int a, const char *from, int b, const char *to)
{
    return judge(is_below(to), 1) == FAIL ? -1 : REAL(renameat)(a, from, b, to);
}

int unlink(const char *path)
{
    return judge(is_below(path), 0) == FAIL ? -1 : REAL(unlink)(path);
}

int unlinkat(int at, const char *path, int flags)
{
    return judge(is_below(path), 0) == FAIL ? -1 : REAL(unlinkat)(at, path, flags);
}

/* Only what creates a file or opens one to write to it. */
static int open_fails(const char *path, int flags)
{
    int writes = (flags & O_CREAT) || (flags & O_ACCMODE) != O_RDONLY;
    return judge(writes && is_below(path), (flags & O_CREAT) != 0) == FAIL;
}

#define OPEN(name, ...)                      \
    {                                                           \
        va_list more;                                           \
        va_start(more, flags);                                  \
        mode_t bits = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                           \
        if (open_fails(path, flags))                            \
            return -1;                                          \
        return REAL(name)(__VA_ARGS__, bits);                   \
    }

int open64(const char *path, int flags, ...) OPEN(open64, path, flags)
int open(const char *path, int flags, ...) OPEN(open64, path, flags)
int openat64(int at, const char *path, int flags, ...) OPEN(openat64, at, path, flags)
int openat(int at, const char *path, int flags, ...) OPEN(openat64, at, path, flags)
