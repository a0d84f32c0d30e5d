/*
 * What the native core offers.  Plain declarations only: this very text is also the cffi cdef.
 *
 * A request is one thing done by one actor: open a runtime, make a call, start or end an actor.
 * xd_post hands it over, xd_wait waits for it.  Requests are flat so that they can cross a process
 * border; everything they name (runtime, actor) is an index into tables of this library.
 */

enum {
    XD_MAX_ARGS = 14,
    XD_MAX_RUNTIMES = 16,
    XD_MAX_ACTORS = 32,
    XD_PATH_SIZE = 4096,
    XD_ERROR_SIZE = 512
};

/* A platform's name in the call list. */
enum { XD_HIP = 0, XD_CUDA = 1 };
/* Beside them, whose error codes are asked for: XSched's results. */
enum { XD_XSCHED = 2 };

/* Request.op */
enum {
    XD_OP_CALL = 1,         /* make `call` on `runtime` with `args` */
    XD_OP_OPEN = 2,         /* open runtime number `runtime` as declared */
    XD_OP_THREAD = 3,       /* start actor `subject` as a native thread */
    XD_OP_FORK = 4,         /* start actor `subject` as a forked child */
    XD_OP_END = 5           /* end this actor */
};

/* Request.status */
enum {
    XD_DONE = 0,
    XD_UNSUPPORTED = 1,     /* the runtime has no such call */
    XD_FAILED = 2,          /* could not be done: see error */
    XD_DIED = 3             /* the actor's process ended: see wait_status */
};

/* How a runtime is opened. */
enum {
    XD_BY_DLOPEN = 0,       /* dlopen with the given flags */
    XD_BY_NAMESPACE = 1     /* dlmopen in a namespace of its own */
};

typedef struct {
    int32_t op;
    int32_t actor;          /* index of the actor that acts */
    int32_t subject;        /* XD_OP_THREAD, XD_OP_FORK: index of the actor to start */
    int32_t runtime;
    int32_t call;
    uint32_t repeat;        /* number of times a call is made; stops at the first that fails */
    uint64_t args[14];       /* inputs, in the call's order, one place per argument kind */
    /* answer */
    int32_t status;
    int32_t result;         /* what the call returned */
    int32_t wait_status;    /* XD_DIED: as from waitpid, -1 if unknown */
    int32_t tid;            /* kernel thread id of the actor */
    int32_t pid;
    uint32_t made;          /* number of times the call was made */
    uint64_t started_ns;    /* CLOCK_MONOTONIC */
    uint64_t ended_ns;
    uint64_t outs[14];       /* outputs, one place per argument kind */
    char error[512];
} xd_request;

typedef struct {
    const char *name;       /* without the platform's prefix */
    const char *hip;        /* symbols, in order, separated by '|' */
    const char *cuda;
    int32_t returns_status; /* 0: returns a device ordinal, -1 for a handle that is not valid */
    int32_t count;
    int32_t kinds[14];
} xd_call;

typedef struct {
    const char *name;
    int32_t direction;      /* 0 written out by the caller, 1 output, 2 supplied by the executor */
    int32_t bits;           /* of the value; outputs are sign-extended by the reader */
} xd_kind;

typedef struct {
    int32_t code;
    const char *name;
    const char *meaning;
} xd_error;

typedef struct {
    char path[4096];        /* as the loader knows it */
    char soname[256];
    char build_id[65];      /* hexadecimal, empty where the file has none */
    uint64_t device;        /* st_dev and st_ino of path */
    uint64_t inode;
    uint64_t base;          /* load address */
    uint64_t handle;        /* of dlopen: equal for equal copies */
    int32_t namespace_id;   /* link-map list; 0 is the one that the program started in */
} xd_identity;

/* The driver's calls come first, then XSched's (hal_calls.h). */
int32_t xd_call_count(void);
int32_t xd_driver_call_count(void);
const xd_call *xd_call_at(int32_t index);
int32_t xd_kind_count(void);
const xd_kind *xd_kind_at(int32_t index);
int32_t xd_error_count(int32_t platform);
const xd_error *xd_error_at(int32_t platform, int32_t index);

/* Say how runtime `index` will be opened.  Returns 0, or -1 for an index or path out of range. */
int32_t xd_declare_runtime(int32_t index, int32_t platform, const char *path, int32_t how,
                           int32_t flags);
/* Say that `index` is a library which opens a runtime for itself, at its first call: the file that
 * the environment variable names.  Opening it sets the variable to the file that `runtime`, which is
 * open by then, was loaded from.  By XD_BY_NAMESPACE it goes into the namespace that `runtime` is in.
 * Returns 0, or -1 for an index or path out of range. */
int32_t xd_declare_library(int32_t index, int32_t platform, const char *path, int32_t how,
                           int32_t runtime, const char *variable);
/* Identity of an open runtime.  Returns 0, or -1 if it is not open here. */
int32_t xd_identify(int32_t index, xd_identity *identity);
/* The symbol that answers `call` on an open runtime, NULL where it has none. */
const char *xd_symbol_used(int32_t index, int32_t call);

/* Carry out a request on the calling thread. */
void xd_execute(xd_request *request);
/* Hand a request to a started actor; it must stay where it is until xd_wait returned. */
int32_t xd_post(xd_request *request);
/* Wait for the request posted to this actor. */
void xd_wait(xd_request *request);
/* Have the kernel kill this process when its parent ends; become the parent of orphans below. */
void xd_die_with_parent(void);
void xd_adopt_orphans(void);
/* Open AMD's compiler (comgr) by name, as the runtime will, and use it once, so that children forked
 * from here have it already.  Returns 0, or -1 where it cannot be opened. */
int32_t xd_preload_compiler(const char *library);
/* The size of the buffer behind kind BUFFER, in bytes, and the number of callbacks seen so far. */
int32_t xd_buffer_size(void);
uint64_t xd_callbacks_seen(void);
/* The stream that the last callback was given. */
uint64_t xd_callback_stream(void);
/* Make code known to an open runtime as a program's start-up code does: a kernel and a variable of
 * it, by their names in `bundle`, which must stay.  Fills in what stands for them in the program, and
 * returns 0; -1 where the runtime is not open or offers no registration. */
int32_t xd_register_code(int32_t index, const void *bundle, const char *kernel, const char *variable,
                         uint64_t size, uint64_t *function, uint64_t *symbol);
