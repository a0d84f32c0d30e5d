/*
 * Actors: who makes a call.
 *
 * An actor is the calling thread (xd_execute), a native thread with a mailbox, or a forked child
 * that is talked to over a socket.  A forked child serves its own table of actors, so that it can
 * have threads too: a request for an actor that lives in another process travels to that process.
 */
#include "core.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef enum { NOT_STARTED = 0, THREAD, REMOTE } kind;

typedef struct {
    kind kind;
    /* THREAD: a mailbox for one request at a time */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    xd_request *inbox;  /* handed over, not yet carried out */
    int answered;       /* carried out, not yet collected */
    /* REMOTE: the process that the actor lives in */
    int socket;
    pid_t process;
    int leads; /* it is that process's main thread, and ends with it */
} actor;

static actor actors[XD_MAX_ACTORS];

static actor *actor_at(int32_t index)
{
    return index >= 0 && index < XD_MAX_ACTORS ? &actors[index] : NULL;
}

void xd_die_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

void xd_adopt_orphans(void) { prctl(PR_SET_CHILD_SUBREAPER, 1); }

/* ---- native threads --------------------------------------------------------------------- */

static void *serve_mailbox(void *argument)
{
    actor *self = argument;
    for (int running = 1; running;) {
        pthread_mutex_lock(&self->lock);
        while (!self->inbox)
            pthread_cond_wait(&self->changed, &self->lock);
        xd_request *request = self->inbox;
        pthread_mutex_unlock(&self->lock);

        running = request->op != XD_OP_END;
        xd_execute(request);

        pthread_mutex_lock(&self->lock);
        self->inbox = NULL;
        self->answered = 1;
        pthread_cond_broadcast(&self->changed);
        pthread_mutex_unlock(&self->lock);
    }
    return NULL;
}

static void start_thread(xd_request *request)
{
    actor *a = actor_at(request->subject);
    if (!a || a->kind != NOT_STARTED) {
        xd_fail(request, "actor %d cannot be started", request->subject);
        return;
    }
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    a->inbox = NULL;
    a->answered = 0;
    int error = pthread_create(&a->thread, NULL, serve_mailbox, a);
    if (error) {
        xd_fail(request, "pthread_create: %s", strerror(error));
        return;
    }
    a->kind = THREAD;
    request->status = XD_DONE;
}

static void wait_thread(actor *a, xd_request *request)
{
    pthread_mutex_lock(&a->lock);
    while (!a->answered)
        pthread_cond_wait(&a->changed, &a->lock);
    a->answered = 0;
    pthread_mutex_unlock(&a->lock);
    if (request->op == XD_OP_END) {
        pthread_join(a->thread, NULL);
        a->kind = NOT_STARTED;
    }
}

/* ---- forked children -------------------------------------------------------------------- */

static int send_whole(int fd, const xd_request *request)
{
    ssize_t n;
    do
        n = send(fd, request, sizeof *request, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *request ? 0 : -1;
}

static int receive_whole(int fd, xd_request *request)
{
    ssize_t n;
    do
        n = recv(fd, request, sizeof *request, 0);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *request ? 0 : -1;
}

/* The forked child's whole life: carry out what comes over the socket until it closes.  Requests
 * come one at a time, so that "both at once" across two processes is not offered. */
static void serve_socket(int fd, int32_t self)
{
    xd_request request;
    while (receive_whole(fd, &request) == 0) {
        if (request.actor == self) {
            xd_execute(&request);
        } else if (xd_post(&request) == 0) {
            xd_wait(&request);
        }
        if (send_whole(fd, &request) != 0)
            break;
        if (request.actor == self && request.op == XD_OP_END)
            break;
    }
    /* Not exit(): the runtime's own exit handlers belong to the parent's copy. */
    _exit(0);
}

static void start_fork(xd_request *request)
{
    actor *a = actor_at(request->subject);
    int pair[2];
    if (!a || a->kind != NOT_STARTED) {
        xd_fail(request, "actor %d cannot be started", request->subject);
        return;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        xd_fail(request, "socketpair: %s", strerror(errno));
        return;
    }
    pid_t parent = getpid();
    pid_t process = fork();
    if (process < 0) {
        xd_fail(request, "fork: %s", strerror(errno));
        close(pair[0]);
        close(pair[1]);
        return;
    }
    if (process == 0) {
        xd_die_with_parent();
        if (getppid() != parent)
            _exit(0);
        close(pair[0]);
        /* Threads of the parent do not exist here. */
        memset(actors, 0, sizeof actors);
        serve_socket(pair[1], request->subject);
    }
    close(pair[1]);
    a->kind = REMOTE;
    a->socket = pair[0];
    a->process = process;
    a->leads = 1;
    request->status = XD_DONE;
}

static void wait_remote(actor *a, xd_request *request)
{
    int32_t op = request->op;
    xd_request answer;
    if (receive_whole(a->socket, &answer) == 0) {
        *request = answer;
        /* A thread that the child started is reached through the child. */
        if (op == XD_OP_THREAD && answer.status == XD_DONE) {
            actor *started = actor_at(answer.subject);
            started->kind = REMOTE;
            started->socket = a->socket;
            started->process = a->process;
            started->leads = 0;
        }
    } else {
        request->status = XD_DIED;
        request->pid = a->process;
        request->wait_status = -1;
    }
    if (op == XD_OP_END && !a->leads)
        a->kind = NOT_STARTED;
    if ((op == XD_OP_END && a->leads) || request->status == XD_DIED) {
        int status = 0;
        pid_t ended;
        do
            ended = waitpid(a->process, &status, 0);
        while (ended < 0 && errno == EINTR);
        if (ended == a->process && request->status == XD_DIED)
            request->wait_status = status;
        a->kind = NOT_STARTED;
    }
}

/* ---- requests --------------------------------------------------------------------------- */

void xd_execute(xd_request *request)
{
    request->pid = getpid();
    request->tid = (int32_t)syscall(SYS_gettid);
    request->error[0] = 0;
    switch (request->op) {
    case XD_OP_CALL: xd_make_call(request); break;
    case XD_OP_OPEN: xd_open(request); break;
    case XD_OP_THREAD: start_thread(request); break;
    case XD_OP_FORK: start_fork(request); break;
    case XD_OP_END: request->status = XD_DONE; break;
    default: xd_fail(request, "no operation %d", request->op);
    }
}

int32_t xd_post(xd_request *request)
{
    actor *a = actor_at(request->actor);
    if (!a || a->kind == NOT_STARTED) {
        xd_fail(request, "actor %d was not started", request->actor);
        return -1;
    }
    if (a->kind == REMOTE) {
        /* A failed send means that the child is gone; xd_wait finds out how. */
        (void)send_whole(a->socket, request);
        return 0;
    }
    pthread_mutex_lock(&a->lock);
    a->inbox = request;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return 0;
}

void xd_wait(xd_request *request)
{
    actor *a = actor_at(request->actor);
    if (!a || a->kind == NOT_STARTED)
        return;
    if (a->kind == REMOTE)
        wait_remote(a, request);
    else
        wait_thread(a, request);
}
