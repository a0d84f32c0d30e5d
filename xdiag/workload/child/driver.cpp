// Drive the workers by pthreads (std::thread) on LibTorch, and write what came of it as JSON.
//
// The same program as drive.py: what is changed here is to be changed there.  Streams are taken
// through c10's interface, which CUDA's and HIP's backends both have, so that no header of either
// is needed to compile this: torch's wheel has none.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <dlfcn.h>

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/script.h>

namespace {

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC, as Python's time.monotonic()
using Seconds = std::chrono::duration<double>;

// Of the stream of the worker that is in a hurry; 0 is that of all others.
constexpr int kHigher = -1;
// Seconds between the last worker's readiness and the first moment that counts.
constexpr Seconds kLead{0.05};
// kPreemptLevelBlock: the only level that every GPU has.
constexpr int64_t kLevel = 1;
// Exit status that says that this cannot be run here, and no fault was found (EX_UNAVAILABLE).
constexpr int kUnavailable = 69;

double now() { return Seconds(Clock::now().time_since_epoch()).count(); }

void sleep_until(double when) {
    while (now() < when) std::this_thread::sleep_for(Seconds(when - now()));
}

// What was asked for: "--name value" pairs.
class Asked {
public:
    Asked(int count, char **words) {
        for (int i = 1; i + 1 < count; i += 2) values_[words[i]] = words[i + 1];
    }
    std::string text(const std::string &name) const {
        auto found = values_.find("--" + name);
        if (found == values_.end()) throw std::runtime_error("--" + name + " is missing");
        return found->second;
    }
    double number(const std::string &name) const { return std::stod(text(name)); }
    int64_t whole(const std::string &name) const { return std::stoll(text(name)); }

private:
    std::map<std::string, std::string> values_;
};

// XSched's queues through its C interface; see xdiag_queues.py for where it is described.
class Queues {
public:
    explicit Queues(const Asked &asked)
        // libpreempt first: the other needs it, and looks where XSched was installed at first.
        : preempt_(open(asked.text("preempt"))), hal_(open(asked.text("hal"))),
          create_call_(asked.text("create")) {
        find(hal_, create_call_.c_str(), create_hardware_);
        find(preempt_, "XQueueCreate", create_);
        find(preempt_, "XQueueGet", get_);
        find(preempt_, "XHintPriority", hint_);
        find(preempt_, "XQueueProfileHwCommandCount", count_);
    }

    uint64_t make(void *stream, bool high) {
        uint64_t hardware = 0, queue = 0;
        check(create_call_, create_hardware_(&hardware, stream));
        check("XQueueCreate", create_(&queue, hardware, kLevel, 0));
        return hinted(queue, high);
    }

    uint64_t get(void *stream, bool high) {
        uint64_t queue = 0;
        // A stream's handle is its hardware queue's, too.
        check("XQueueGet", get_(&queue, reinterpret_cast<uint64_t>(stream)));
        return hinted(queue, high);
    }

    int64_t commands(uint64_t queue) {
        int64_t count = 0;
        check("XQueueProfileHwCommandCount", count_(queue, &count));
        return count;
    }

private:
    static void *open(const std::string &path) {
        void *library = dlopen(path.c_str(), RTLD_NOW);
        if (library == nullptr) throw std::runtime_error(dlerror());
        return library;
    }

    template <typename Function>
    static void find(void *library, const char *name, Function &function) {
        function = reinterpret_cast<Function>(dlsym(library, name));
        if (function == nullptr) throw std::runtime_error(dlerror());
    }

    static void check(const std::string &call, int result) {
        if (result != 0) throw std::runtime_error(call + " returned " + std::to_string(result));
    }

    uint64_t hinted(uint64_t queue, bool high) {
        check("XHintPriority", hint_(queue, high ? 2 : 1));
        return queue;
    }

    void *preempt_, *hal_;
    std::string create_call_;
    int (*create_hardware_)(uint64_t *, void *) = nullptr;
    int (*create_)(uint64_t *, uint64_t, int64_t, int64_t) = nullptr;
    int (*get_)(uint64_t *, uint64_t) = nullptr;
    int (*hint_)(uint64_t, int32_t) = nullptr;
    int (*count_)(uint64_t, int64_t *) = nullptr;
};

// What the workers have in common.
struct Shared {
    explicit Shared(const Asked &given)
        : asked(given), gpu(given.text("device") == "gpu"),
          high(given.text("workers").find("high") != std::string::npos),
          low(given.text("workers").find("low") != std::string::npos),
          seconds(given.number("seconds")), waiting((high ? 1 : 0) + (low ? 1 : 0)) {
        std::ifstream lines(asked.text("arrivals"));
        for (double arrival; lines >> arrival;) arrivals.push_back(arrival);
        if (asked.text("queues") != "none") queues = std::make_unique<Queues>(asked);
    }

    // Wait for the other worker.
    void ready() {
        std::unique_lock<std::mutex> lock(mutex);
        if (--waiting == 0) {
            start = now() + kLead.count();
            changed.notify_all();
        }
        changed.wait(lock, [this] { return waiting == 0; });
    }

    const Asked &asked;
    const bool gpu, high, low;
    const double seconds;
    std::vector<double> arrivals;
    std::unique_ptr<Queues> queues;
    std::mutex mutex;
    std::condition_variable changed;
    int waiting;
    double start = 0;
    std::atomic<bool> done{false};

    std::vector<double> latencies;
    int64_t unserved = 0;
    double served_rate = 0, batch_rate = 0;
    int64_t high_commands = 0, low_commands = 0;
};

// A model, its input and its stream; made by the main thread, run by its own.
class Worker {
public:
    Worker(bool high, Shared &shared)
        : high_(high), shared_(shared),
          device_(shared.gpu ? c10::Device(c10::DeviceType::CUDA, 0)
                             : c10::Device(c10::DeviceType::CPU)),
          model_(torch::jit::load(shared.asked.text("model"), device_)),
          backend_(c10::impl::getDeviceGuardImpl(device_.type())),
          stream_(backend_->getStream(device_)) {
        model_.eval();
        int64_t batch = shared.asked.whole(high ? "batch-high" : "batch-low");
        int64_t size = shared.asked.whole("size");
        images_ = torch::zeros({batch, 3, size, size}, torch::TensorOptions().device(device_));
        if (shared.gpu) {
            // What was put on the device, on this thread's stream, is there before others use it.
            backend_->synchronizeStream(stream_);
            bool hurry = high && shared.asked.whole("priorities") != 0;
            stream_ = backend_->getNewStream(device_, hurry ? kHigher : 0);
        }
    }

    // The thread: prepare, warm up, wait for the other, work.
    void run() {
        // The current stream and the mode are a thread's own.
        c10::InferenceMode mode;
        if (shared_.gpu) {
            backend_->setDevice(device_);
            backend_->exchangeStream(stream_);
            // A kernel of this thread's own: CUDA's current context is bound with it.
            torch::zeros({1}, torch::TensorOptions().device(device_)).add_(1);
            backend_->synchronizeStream(stream_);
        }
        if (shared_.queues) {
            void *handle = native_handle();
            queue_ = shared_.asked.text("queues") == "get" ? shared_.queues->get(handle, high_)
                                                           : shared_.queues->make(handle, high_);
        }
        warm_up();
        int64_t before = commands();
        shared_.ready();
        high_ ? serve() : grind();
        (high_ ? shared_.high_commands : shared_.low_commands) = commands() - before;
    }

private:
    void once() {
        model_.forward({images_});
        if (shared_.gpu) backend_->synchronizeStream(stream_);
    }

    // The stream as the runtime knows it.  Not every backend of every torch tells it.
    void *native_handle() {
        try {
            return stream_.native_handle();
        } catch (const c10::Error &error) {
            fprintf(stderr, "this torch tells no stream's handle to C++: %s\n",
                    error.what_without_backtrace());
            _Exit(kUnavailable);
        }
    }

    int64_t commands() { return shared_.queues ? shared_.queues->commands(queue_) : 0; }

    void warm_up() {
        double began = now(), least = shared_.asked.number("warm-seconds");
        int64_t times = shared_.asked.whole("warmup");
        for (int64_t i = 0; i < times || now() - began < least; ++i) once();
    }

    // Requests, each at its time or as soon after it as the ones before are done.
    void serve() {
        double last = shared_.start + shared_.seconds + shared_.asked.number("grace");
        double finished = shared_.start;
        for (double arrival : shared_.arrivals) {
            double due = shared_.start + arrival;
            sleep_until(due);
            if (now() >= last) {
                ++shared_.unserved;
                // So long at least.
                shared_.latencies.push_back(std::max(last, finished) - due);
                continue;
            }
            once();
            finished = now();
            shared_.latencies.push_back(finished - due);
        }
        shared_.done = true;
        double took = std::max(finished - shared_.start, shared_.seconds);
        double served = static_cast<double>(shared_.latencies.size()) - shared_.unserved;
        shared_.served_rate = served / took;
    }

    // Batches without a pause, until the other is done or, alone, until the time is up.
    void grind() {
        sleep_until(shared_.start);
        double finished = shared_.start;
        int64_t batches = 0;
        while (!shared_.done && (shared_.high || finished - shared_.start < shared_.seconds)) {
            once();
            ++batches;
            finished = now();
        }
        if (batches > 0) shared_.batch_rate = batches / (finished - shared_.start);
    }

    const bool high_;
    Shared &shared_;
    c10::Device device_;
    torch::jit::Module model_;
    const c10::impl::DeviceGuardImplInterface *backend_;
    c10::Stream stream_;
    at::Tensor images_;
    uint64_t queue_ = 0;
};

// Paths of mapped GPU runtimes and of XSched's libraries.
std::set<std::string> libraries() {
    std::set<std::string> found;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        size_t slash = line.find('/');
        if (slash == std::string::npos) continue;
        std::string path = line.substr(slash), name = path.substr(path.rfind('/') + 1);
        for (const char *told : {"libamdhip64", "libcuda.so", "libhal", "libshim", "libpreempt"}) {
            if (name.find(told) != std::string::npos) found.insert(path);
        }
    }
    return found;
}

std::string quoted(const std::string &text) {
    std::string result = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result + "\"";
}

void write(const Shared &shared) {
    std::ofstream file(shared.asked.text("result"));
    file.precision(9);
    file << "{";
    if (shared.high) {
        file << "\"latencies\": [";
        for (size_t i = 0; i < shared.latencies.size(); ++i) {
            file << (i ? ", " : "") << shared.latencies[i];
        }
        file << "], \"unserved\": " << shared.unserved
             << ", \"served_rate\": " << shared.served_rate << ", ";
        if (shared.queues) file << "\"high_commands\": " << shared.high_commands << ", ";
    }
    if (shared.low) {
        file << "\"batch_rate\": " << shared.batch_rate << ", ";
        if (shared.queues) file << "\"low_commands\": " << shared.low_commands << ", ";
    }
    file << "\"libraries\": [";
    const char *before = "";
    for (const std::string &path : libraries()) {
        file << before << quoted(path);
        before = ", ";
    }
    file << "]}";
    file.close();
    if (!file) throw std::runtime_error("the result cannot be written");
}

// A worker that failed ends the process at once: the other may wait for it, or for the GPU.
void guarded(Worker &worker) {
    try {
        worker.run();
    } catch (const c10::Error &error) {
        fprintf(stderr, "%s\n", error.what_without_backtrace());
        _Exit(1);
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
        _Exit(1);
    }
}

}  // namespace

int main(int count, char **words) {
    try {
        Asked asked(count, words);
        // Two workers share the processors; each has one thread, in every driver.
        if (asked.text("device") == "cpu") at::set_num_threads(1);
        Shared shared(asked);
        std::vector<std::unique_ptr<Worker>> workers;
        if (shared.high) workers.push_back(std::make_unique<Worker>(true, shared));
        if (shared.low) workers.push_back(std::make_unique<Worker>(false, shared));
        std::vector<std::thread> threads;
        for (auto &worker : workers) threads.emplace_back(guarded, std::ref(*worker));
        for (std::thread &thread : threads) thread.join();
        write(shared);
    } catch (const c10::Error &error) {
        fprintf(stderr, "%s\n", error.what_without_backtrace());
        return 1;
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
