/*
{% for line in head %}
 *{{ " " ~ line if line else "" }}
{% endfor %}
 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
{% if threads %}
#include <pthread.h>
{% endif %}
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
{% if alternatives %}
#include <string.h>
{% endif %}
{% if program.forks %}
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
{% endif %}
#include <unistd.h>

enum { {{ actors }} }; /* actors: who makes a call */
static char **args; static __thread int me = main_thread, step{{ ", together" if program.at_once }};
{% if threads %}
static pthread_t {% for name in threads %}thread_{{ name }}{{ ", " if not loop.last }}{% endfor %};
{% endif %}
{% if program.forks %}
static struct { int done, status{{ ", refused" if program.trusting }}; } *all; /* shared by both processes */
{% else %}
static int done, status{{ ", refused" if program.trusting }}{{ ", begun, ended, ends" if program.at_once }}; /* steps done, exit status */
{% endif %}
{% for line in values %}
{{ line }}
{% endfor %}
{% for line in blanks %}
{{ line }}
{% endfor %}
{% if "CALLBACK" in kinds %}
static void on_stream(void *of, int error, void *with) { (void)of, (void)error, (void)with; }
{% endif %}
{% if "HOST_FUNCTION" in kinds %}
static void on_host(void *user) { (void)user; }
{% endif %}
{% if "DIM3" in kinds %}
struct dim3 { uint32_t x, y, z; };
static struct dim3 dim3_of(uint64_t word) {
  struct dim3 size = {(uint32_t)word, (uint32_t)(word >> 32), 0};
  return size;
}
{% endif %}

/* If a call fails: {{ meanings }} */
enum { {{ flags }} };
static void cut_short(void) { puts(" the process exits here"), _exit(1); }

{% if many %}
/* Every actor goes through the whole story, waits for each step and does those that are its own. */
{% endif %}
static int my_turn(int actors, const char *what) {
{% if program.forks %}
  for (int how; __atomic_load_n(&all->done, __ATOMIC_ACQUIRE) < step; usleep(50))
    if (waitpid(-1, &how, WNOHANG) > 0) { /* the child is gone: this process ends as it did */
      if (WIFSIGNALED(how)) puts(" killed"), raise(WTERMSIG(how));
      _exit(WEXITSTATUS(how));
    }
{% elif many %}
  while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < step) usleep(50);
{% endif %}
  if ({{ at }}done != step++ || !(actors & me)) return 0;
{% if program.at_once %}
  together = __builtin_popcount(actors);
  if (__atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST) == together) /* the last to come */
    printf("%2d  %s", step - 1, what), __atomic_add_fetch(&begun, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&begun, __ATOMIC_SEQ_CST) <= together) {} /* all begin at one moment */
  return 1;
{% else %}
  return printf("%2d  %s", step - 1, what);
{% endif %}
}
static void over(int failed) {
  {{ at }}status |= failed & 3{{ ", ends |= failed & 4" if program.at_once }};
{% if program.at_once %}
  if (__atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST) < together) return;
  begun = ended = 0;
  if (puts("") < 0 || ends) _exit(status);
{% else %}
  if (puts("") < 0 || failed & 4) _exit({{ at }}status);
{% endif %}
  __atomic_add_fetch(&{{ at }}done, 1, __ATOMIC_RELEASE);
}
static void answer(int code, int how, void *runtime) {
  const char *(*name)(int) = (const char *(*)(int))dlsym(runtime, "{{ error_name }}");
  int failed = how & DEVICE ? code < 0 : code != 0 && code != {{ not_ready }}; /* {{ not_ready }}: not ready yet */
  printf(" -> %d %s", code, failed && name ? name(code) : "");
{% if program.trusting %}
  if (failed && (code == {{ refusal }} || code < 0)) {{ at }}refused |= how & 0xffe0;
{% endif %}
  over(failed ? how & 7 : 0);
}
{% if alternatives %}
static void *find(void *runtime, const char *name) { /* newer runtimes have other names for some */
  void *found = NULL;
{% for known, other in alternatives %}
  if (!found && !strcmp(name, "{{ known }}"))
    found = dlsym(runtime, "{{ other }}");
{% endfor %}
  return found ? found : dlsym(runtime, name);
}
{% endif %}
static void unasked(int how, const char *why) { /* a question among several may be left out */
  printf(" -> %s", why), over((how & 7) == 1 ? 0 : (how & 7) | 3);
}
#define CALL(actors, how, runtime, name, types, arguments) \
  if (my_turn(actors, #actors ": " #name #arguments)) { \
    int (*call) types = (int (*) types){{ "find" if alternatives else "dlsym" }}(runtime, #name); \
{% if program.trusting %}
    if ((how) & 8 && (how) & {{ at }}refused) unasked(ASK, "not asked: it was refused"); \
    else if (!call) unasked(how, "not in this runtime"); \
{% else %}
    if (!call) unasked(how, "not in this runtime"); \
{% endif %}
{% if program.repeats %}
    else { \
      int code, left = (how) >> 16; \
      do code = call arguments; \
      while (--left > 0 && ((how) & DEVICE ? code >= 0 : code == 0)); \
      answer(code, how, runtime); \
    } \
{% else %}
    else answer(call arguments, how, runtime); \
{% endif %}
  }
#define STEP(actors, failure, action) \
  if (my_turn(actors, #actors ": " #action)) { int well = (action) != 0; \
    printf(" -> %s", well ? "done" : failure == NEEDED ? dlerror() : "nothing is lost here"); \
    over(well ? 0 : failure); \
  }
{% if program.forks %}
#define FORK(actors, who) \
  if (my_turn(actors, #actors ": forks " #who)) { \
    if (fork()) over(0); else me = who, prctl(PR_SET_PDEATHSIG, SIGKILL); }
{% endif %}

{% if threads %}
static void story(void);
static void *enter(void *who) { me = (int)(intptr_t)who; story(); return NULL; }
{% endif %}
static void story(void) {
{% for line in lines %}
{{ line }}
{% endfor %}
  my_turn(0, "");
{% if many %}
  for (;; pause()) /* the others stay until the program ends */
    if (me == main_thread) _exit({{ at }}status);
{% else %}
  _exit(status);
{% endif %}
}

int main(int count, char **argv) {
  if (count != {{ count + 1 }}) return fprintf(stderr, "usage: %s {{ usage }}\n", argv[0]), 2;
  args = argv, setvbuf(stdout, NULL, _IONBF, 0), atexit(cut_short);
{% if program.forks %}
  all = (__typeof__(all))mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
{% endif %}
  story();
}
