/* A disk that fails and a clock that steps, for a process that loads this library first.
 *
 * TANDEM_FAULTS names a folder. While it holds a file of one of these names, calls fail or lie:
 *   fsync   fsync and fdatasync of files in TANDEM_FAULTS_DATA end with EIO
 *   hang    fsync and fdatasync of these files wait until it is gone
 *   full    files in TANDEM_FAULTS_DATA do not grow and are not written: ENOSPC
 *   clock   the wall clock is off by so many seconds as the file says
 * Everything else is the system's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int trigger(const char *name, char *path, size_t size) {
    const char *folder = getenv("TANDEM_FAULTS");
    if (!folder) return 0;
    snprintf(path, size, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static int fails(const char *name, int fd) {
    int kept = errno, is = 0;
    char path[4096], link[64], file[4096];
    const char *data = getenv("TANDEM_FAULTS_DATA");
    if (data && trigger(name, path, sizeof path)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, file, sizeof file - 1);
        if (n > 0) {
            file[n] = 0;
            is = strncmp(file, data, strlen(data)) == 0;
        }
    }
    errno = kept;
    return is;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define BROKEN(name, fd, code) \
    if (fails(name, fd)) { errno = code; return -1; }

static void hang(int fd) {
    while (fails("hang", fd)) usleep(5000);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    hang(fd);
    BROKEN("fsync", fd, EIO)
    return real(fd);
}
int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    hang(fd);
    BROKEN("fsync", fd, EIO)
    return real(fd);
}

ssize_t write(int fd, const void *from, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    BROKEN("full", fd, ENOSPC)
    return real(fd, from, n);
}
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    BROKEN("full", fd, ENOSPC)
    return real(fd, from, n, at);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    BROKEN("full", fd, ENOSPC)
    return real(fd, from, n, at);
}
int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    BROKEN("full", fd, ENOSPC)
    return real(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    BROKEN("full", fd, ENOSPC)
    return real(fd, size);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int done = real(clock, time);
    if (done == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int kept = errno;
        char path[4096], text[32] = {0};
        if (trigger("clock", path, sizeof path)) {
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd >= 0) {
                if (read(fd, text, sizeof text - 1) > 0) time->tv_sec += atol(text);
                close(fd);
            }
        }
        errno = kept;
    }
    return done;
}
