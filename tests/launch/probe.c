/* A command that tells what it was started with (probe state), or which signals it gets
 * (probe catch [own-group|own-session]), one a line, until it is killed;
 * or stops and goes on as an editor does (probe editor), until SIGINT. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

extern char **environ;

static int state(char **argv)
{
    char line[4096];
    /* Before anything of ours is open. */
    for (int fd = 0; fd < 64; fd++) {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(name, line, sizeof line - 1);
        if (length < 0)
            continue;
        line[length] = 0;
        printf("fd %d %s flags %x of descriptor %x at %ld\n", fd, line, fcntl(fd, F_GETFL),
               fcntl(fd, F_GETFD), fd > 2 ? (long)lseek(fd, 0, SEEK_CUR) : 0);
    }
    for (int i = 0; argv[i]; i++)
        printf("argument %d %s\n", i, argv[i]);
    for (char **each = environ; *each; each++)
        printf("variable %s\n", *each);
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "Sig", 3) || !strncmp(line, "ShdPnd", 6) ||
            !strncmp(line, "Cpus_allowed:", 13) || !strncmp(line, "Cap", 3))
            if (strncmp(line, "SigQ", 4))
                fputs(line, stdout);
    struct rlimit limit;
    for (int i = 0; i < RLIM_NLIMITS; i++)
        if (!getrlimit(i, &limit))
            printf("limit %d %lu %lu\n", i, (long)limit.rlim_cur, (long)limit.rlim_max);
    struct itimerval timer;
    getitimer(ITIMER_REAL, &timer);
    printf("timer %d every %ld\n", timer.it_value.tv_sec > 0, timer.it_interval.tv_sec);
    mode_t mask = umask(0);
    printf("umask %o nice %d group %d session %d in %s\n", mask, getpriority(PRIO_PROCESS, 0),
           getpgrp(), getsid(0), getcwd(line, sizeof line) ? line : "?");
    return 0;
}

static int catch(const char *how)
{
    sigset_t all;
    siginfo_t info;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (how && !strcmp(how, "own-group"))
        setpgid(0, 0);
    if (how && !strcmp(how, "own-session"))
        setsid();
    printf("ready %d\n", getpid());
    fflush(stdout);
    for (;;)
        if (sigwaitinfo(&all, &info) > 0) {
            printf("%d\n", info.si_signo);
            fflush(stdout);
        }
}

static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(1);
}

static void stop(int number)
{
    say("suspending\n");
    signal(number, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    kill(0, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    signal(number, stop);
    say("back\n");
}

static void go_on(int number)
{
    (void)number;
    say("continued\n");
}

static void end(int number)
{
    (void)number;
    say("ended\n");
    _exit(7);
}

static int edit(void)
{
    signal(SIGTSTP, stop);
    signal(SIGCONT, go_on);
    signal(SIGINT, end);
    say("ready\n");
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "state"))
        return state(argv);
    if (argc > 1 && !strcmp(argv[1], "catch"))
        return catch(argv[2]);
    if (argc > 1 && !strcmp(argv[1], "editor"))
        return edit();
    return 2;
}
