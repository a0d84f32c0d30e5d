/* A program that does to itself what it is told, line by line: "open PATH", and says "done". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void *handles[16];
static int opened;

static void keep(void *handle)
{
    if (handle == NULL)
        fprintf(stderr, "%s\n", dlerror());
    handles[opened++ % 16] = handle;
}

/* Map a file as the loader maps code, whatever is in it. */
static void map(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) != 0 ||
        mmap(NULL, status.st_size ? status.st_size : 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
        perror(path);
    close(fd);
}

/* Pages of alternating protection: as many lines of the memory map. */
static void regions(long count)
{
    char *start = mmap(NULL, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (long page = 0; page < count; page += 2)
        mprotect(start + page * 4096, 4096, PROT_READ);
}

/* How often, in a while of looking, this process was traced or not running. */
static void watch_self(void)
{
    char line[256];
    int traced = 0, looks = 0;
    for (; looks < 3000; looks++) {
        FILE *status = fopen("/proc/self/status", "r");
        while (status && fgets(line, sizeof line, status)) {
            if (strncmp(line, "TracerPid:", 10) == 0 && atoi(line + 10) != 0)
                traced++;
            if (strncmp(line, "State:", 6) == 0 && strchr(line, 'R') == NULL)
                traced++;
        }
        if (status)
            fclose(status);
    }
    printf("%d of %d\n", traced, looks);
}

static void *listen(void *unused);

static void obey(char *line)
{
    char *word = strtok(line, " \n"), *rest = strtok(NULL, "\n");
    if (word == NULL)
        return;
    if (strcmp(word, "open") == 0)
        keep(dlopen(rest, RTLD_NOW | RTLD_LOCAL));
    else if (strcmp(word, "new") == 0)
        keep(dlmopen(LM_ID_NEWLM, rest, RTLD_NOW));
    else if (strcmp(word, "close") == 0)
        dlclose(handles[--opened % 16]);
    else if (strcmp(word, "map") == 0)
        map(rest);
    else if (strcmp(word, "regions") == 0)
        regions(atol(rest));
    else if (strcmp(word, "device") == 0)
        open(rest, O_RDWR);
    else if (strcmp(word, "exec") == 0)
        execl(rest, rest, (char *)NULL);
    else if (strcmp(word, "watch-self") == 0)
        watch_self();
    else if (strcmp(word, "fork") == 0) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                pause();
        printf("%d\n", (int)pid);
    } else if (strcmp(word, "crash") == 0)
        abort();
    else if (strcmp(word, "loop-list") == 0)
        _r_debug.r_map->l_next->l_next->l_next = _r_debug.r_map->l_next;
    else if (strcmp(word, "wild-list") == 0)
        _r_debug.r_map->l_next->l_next = (struct link_map *)0x123456789000;
    else if (strcmp(word, "long-name") == 0)
        memset(_r_debug.r_map->l_next->l_name = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 'x', 1 << 20);
    else if (strcmp(word, "end-main-thread") == 0) {
        pthread_t other;
        pthread_create(&other, NULL, listen, NULL);
        puts("done");
        fflush(stdout);
        pthread_exit(NULL);
    }
    puts("done");
    fflush(stdout);
}

static void *listen(void *unused)
{
    char line[8192];
    while (fgets(line, sizeof line, stdin))
        obey(line);
    exit(0);
    return unused;
}

int main(void)
{
    puts("done");
    fflush(stdout);
    listen(NULL);
}
