/* Compiles a small OpenCL program with a libamd_comgr, in the steps a HIP runtime takes.
 *
 *     comgr_chain LIBAMD_COMGR OUTPUT_DIRECTORY
 *
 * Every object that comes out of a step is written to OUTPUT_DIRECTORY/step-kind-name, and the
 * milliseconds each step took are printed.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct handle {
    uint64_t handle;
} handle;

#define CALLS(call)                                                \
    call(create_data, (int, handle *))                             \
    call(set_data, (handle, size_t, const char *))                 \
    call(set_data_name, (handle, const char *))                    \
    call(get_data, (handle, size_t *, char *))                     \
    call(get_data_name, (handle, size_t *, char *))                \
    call(release_data, (handle))                                   \
    call(create_data_set, (handle *))                              \
    call(destroy_data_set, (handle))                               \
    call(data_set_add, (handle, handle))                           \
    call(action_data_count, (handle, int, size_t *))               \
    call(action_data_get_data, (handle, int, size_t, handle *))    \
    call(create_action_info, (handle *))                           \
    call(destroy_action_info, (handle))                            \
    call(action_info_set_language, (handle, int))                  \
    call(action_info_set_isa_name, (handle, const char *))         \
    call(action_info_set_logging, (handle, bool))                  \
    call(action_info_set_option_list, (handle, const char **, size_t)) \
    call(do_action, (int, handle, handle, handle))

#define DECLARE(name, parameters) static int(*name) parameters;
CALLS(DECLARE)

#define OK(call)                                                                             \
    do {                                                                                     \
        int status_ = (call);                                                                \
        if (status_ != 0)                                                                    \
            fprintf(stderr, "comgr_chain: line %d: %s returned %d\n", __LINE__, #call, status_), \
                exit(1);                                                                     \
    } while (0)

/* amd_comgr.h of 2.4 */
enum { SOURCE = 1, OPENCL_1_2 = 1 };
enum {
    ADD_HEADERS = 1,
    COMPILE = 2,
    ADD_LIBRARIES = 3,
    LINK = 4,
    CODEGEN = 6,
    LINK_EXECUTABLE = 9
};

static const char program[] = "__kernel void twice(__global float *x) {\n"
                              "    size_t i = get_global_id(0);\n"
                              "    x[i] = 2.0f * native_sqrt(x[i]);\n"
                              "}\n";
static const char *output_directory;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void write_objects(int action, handle set)
{
    for (int kind = 1; kind <= 16; kind++) {
        size_t count = 0;
        if (action_data_count(set, kind, &count) != 0)
            continue;
        for (size_t i = 0; i < count; i++) {
            handle data;
            char name[256], path[1024];
            size_t name_size = sizeof name, size = 0;
            OK(action_data_get_data(set, kind, i, &data));
            OK(get_data_name(data, &name_size, name));
            OK(get_data(data, &size, NULL));
            char *bytes = malloc(size + 1);
            OK(get_data(data, &size, bytes));
            OK(release_data(data));
            snprintf(path, sizeof path, "%s/%d-%d-%s", output_directory, action, kind, name);
            FILE *file = fopen(path, "wb");
            if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
                perror(path), exit(1);
            free(bytes);
        }
    }
}

static handle step(int action, int language, handle input, const char **options, size_t count)
{
    handle info, result;
    OK(create_action_info(&info));
    if (language != 0)
        OK(action_info_set_language(info, language));
    OK(action_info_set_isa_name(info, "amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-"));
    OK(action_info_set_logging(info, true));
    OK(action_info_set_option_list(info, options, count));
    OK(create_data_set(&result));
    double start = now_ms();
    OK(do_action(action, info, input, result));
    printf("%d %.3f\n", action, now_ms() - start);
    OK(destroy_action_info(info));
    write_objects(action, result);
    OK(destroy_data_set(input));
    return result;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return fprintf(stderr, "usage: comgr_chain LIBAMD_COMGR OUTPUT_DIRECTORY\n"), 2;
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return fprintf(stderr, "comgr_chain: %s\n", dlerror()), 2;
#define RESOLVE(name, parameters) *(void **)&name = dlsym(library, "amd_comgr_" #name);
    CALLS(RESOLVE)
    output_directory = argv[2];

    handle source, set;
    OK(create_data(SOURCE, &source));
    OK(set_data(source, sizeof program - 1, program));
    OK(set_data_name(source, "twice.cl"));
    OK(create_data_set(&set));
    OK(data_set_add(set, source));
    OK(release_data(source));

    const char *compile[] = {"-O3", "-mcode-object-version=4"};
    const char *libraries[] = {"code_object_v4"};
    const char *generate[] = {"-O3"};
    set = step(ADD_HEADERS, OPENCL_1_2, set, compile, 2);
    set = step(COMPILE, OPENCL_1_2, set, compile, 2);
    set = step(ADD_LIBRARIES, OPENCL_1_2, set, libraries, 1);
    set = step(LINK, OPENCL_1_2, set, libraries, 1);
    set = step(CODEGEN, 0, set, generate, 1);
    set = step(LINK_EXECUTABLE, 0, set, NULL, 0);
    OK(destroy_data_set(set));
    return 0;
}
