// What of hip-tests' hip_test_common.hh, Catch2 and hip_runtime_api.h an emitted test case uses, with
// types as strict as the real ones: enumerations, opaque handles, templates beside functions.  A
// failed check prints its line; a failed requirement ends the test.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <sstream>

enum hipError_t {
  hipSuccess = 0,
  hipErrorInvalidValue = 1,
  hipErrorInvalidHandle = 400,
  hipErrorNotReady = 600,
  hipErrorPeerAccessAlreadyEnabled = 704,
  hipErrorContextIsDestroyed = 709,
  hipErrorNotSupported = 801,
  hipErrorUnknown = 999
};
enum hipStreamCaptureMode { hipStreamCaptureModeGlobal, hipStreamCaptureModeRelaxed = 2 };
enum hipStreamCaptureStatus { hipStreamCaptureStatusNone };
enum hipMemcpyKind { hipMemcpyHostToHost, hipMemcpyDeviceToDevice = 3 };
typedef struct ihipStream_t* hipStream_t;
typedef struct ihipEvent_t* hipEvent_t;
typedef struct ihipCtx_t* hipCtx_t;
typedef struct ihipGraph* hipGraph_t;
typedef struct hipGraphNode* hipGraphNode_t;
typedef int hipDevice_t;
struct hipDeviceProp_t {
  char bytes[1472];
};
typedef void (*hipStreamCallback_t)(hipStream_t, hipError_t, void*);

extern "C" {
hipError_t hipInit(unsigned int);
hipError_t hipRuntimeGetVersion(int*);
hipError_t hipSetDevice(int);
hipError_t hipDeviceReset(void);
hipError_t hipGetDeviceProperties(hipDeviceProp_t*, int);
hipError_t hipCtxGetCurrent(hipCtx_t*);
hipError_t hipCtxSetCurrent(hipCtx_t);
hipError_t hipCtxGetDevice(hipDevice_t*);
hipError_t hipCtxPushCurrent(hipCtx_t);
hipError_t hipCtxPopCurrent(hipCtx_t*);
hipError_t hipDevicePrimaryCtxRetain(hipCtx_t*, hipDevice_t);
hipError_t hipStreamCreateWithFlags(hipStream_t*, unsigned int);
hipError_t hipStreamDestroy(hipStream_t);
hipError_t hipStreamGetFlags(hipStream_t, unsigned int*);
hipError_t hipStreamGetPriority(hipStream_t, int*);
hipError_t hipStreamGetDevice(hipStream_t, hipDevice_t*);
int hipGetStreamDeviceId(hipStream_t);
hipError_t hipStreamQuery(hipStream_t);
hipError_t hipStreamSynchronize(hipStream_t);
hipError_t hipStreamWaitEvent(hipStream_t, hipEvent_t, unsigned int);
hipError_t hipStreamIsCapturing(hipStream_t, hipStreamCaptureStatus*);
hipError_t hipEventCreateWithFlags(hipEvent_t*, unsigned int);
hipError_t hipEventRecord(hipEvent_t, hipStream_t);
hipError_t hipEventSynchronize(hipEvent_t);
hipError_t hipEventDestroy(hipEvent_t);
hipError_t hipMalloc(void**, size_t);
hipError_t hipMemsetAsync(void*, int, size_t, hipStream_t);
hipError_t hipMemcpyAsync(void*, const void*, size_t, hipMemcpyKind, hipStream_t);
}
template <class T> hipError_t hipMalloc(T** pointer, size_t size) {
  return hipMalloc(reinterpret_cast<void**>(pointer), size);
}
// The fake runtime has none of these: they answer as one that refuses what it does not know.
inline hipError_t refusal(hipStream_t s) { return hipStreamQuery(s); }
inline hipError_t hipStreamGetId(hipStream_t s, unsigned long long*) { return refusal(s); }
inline hipError_t hipStreamAddCallback(hipStream_t s, hipStreamCallback_t, void*, unsigned int) {
  return refusal(s);
}
inline hipError_t hipStreamGetCaptureInfo(hipStream_t s, hipStreamCaptureStatus*,
                                          unsigned long long*) {
  return refusal(s);
}
inline hipError_t hipStreamGetCaptureInfo_v2(hipStream_t s, hipStreamCaptureStatus*,
                                             unsigned long long* = nullptr, hipGraph_t* = nullptr,
                                             const hipGraphNode_t** = nullptr, size_t* = nullptr) {
  return refusal(s);
}
inline hipError_t hipStreamBeginCapture(hipStream_t s, hipStreamCaptureMode) { return refusal(s); }
inline hipError_t hipStreamEndCapture(hipStream_t s, hipGraph_t*) { return refusal(s); }

inline int stub_failures = 0;
struct stub_ended {};
inline std::string stub_info;
inline void stub_failed(const char* what, int line) {
  std::printf("FAILED line %d: %s [%s]\n", line, what, stub_info.c_str());
  ++stub_failures;
}
#define INFO(message) (stub_info = (std::ostringstream() << message).str())
#define CHECK(...) ((__VA_ARGS__) ? void() : stub_failed(#__VA_ARGS__, __LINE__))
#define REQUIRE(...) \
  ((__VA_ARGS__) ? void() : (stub_failed(#__VA_ARGS__, __LINE__), throw stub_ended()))
#define HIP_CHECK(error)                                                    \
  {                                                                         \
    hipError_t localError = error;                                          \
    if (localError != hipSuccess) {                                         \
      INFO("code " << localError << " of " << #error);                      \
      REQUIRE(false);                                                       \
    }                                                                       \
  }
#define HIP_CHECK_ERROR(errorExpr, expectedError)                           \
  {                                                                         \
    hipError_t localError = errorExpr;                                      \
    INFO("code " << localError << " of " << #errorExpr);                    \
    REQUIRE(localError == expectedError);                                   \
  }
void stub_test();
inline const char* stub_name = "";
#define TEST_CASE(name)                     \
  struct stub_namer {                       \
    stub_namer() { stub_name = name; }      \
  } stub_named;                             \
  void stub_test()

int main() {
  try {
    stub_test();
  } catch (const stub_ended&) {
    std::printf("%s: ended\n", stub_name);
  }
  std::printf("%s: %d failed\n", stub_name, stub_failures);
  return stub_failures ? 1 : 0;
}
