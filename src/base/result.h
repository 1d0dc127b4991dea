// Result<T>: the outcome of anything that can fail for reasons outside the program (files, bytes,
// peers, users). Bugs are CHECKs (base/check.h), not Results.
//
// The code says what the caller does next; the message says what was wrong, with the value, and
// what to do. `TRY(expr)` yields the value or returns the error from the enclosing function.
#pragma once

#include <fmt/core.h>

#include <expected>
#include <string>
#include <utility>

namespace exo {

enum class ErrorCode : uint8_t {
  kInvalid = 0,       // the input is wrong: do not retry, tell the user
  kNotFound = 1,      // the named thing does not exist
  kUnsupported = 2,   // well-formed, but this build or device cannot do it
  kOverloaded = 3,    // a limit is reached (memory, queue): retry later or elsewhere
  kDisconnected = 4,  // a peer or client is gone: retry on another path
  kCorrupt = 5,       // bytes fail verification: fetch again or replace the file
  kIo = 6,            // the operating system refused
  kCancelled = 7,     // the caller asked to stop
  kDenied = 8,        // who asks may not: with another key, or as somebody else
};

const char* ErrorCodeName(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInvalid;
  std::string message;

  friend bool operator==(const Error&, const Error&) = default;
};

template <class T = void>
using Result = std::expected<T, Error>;

// Builds the error side of a Result: `return Fail(ErrorCode::kCorrupt, "offset {} is beyond {}", a,
// b);`
template <class... Args>
[[nodiscard]] std::unexpected<Error> Fail(ErrorCode code, fmt::format_string<Args...> format,
                                          Args&&... args) {
  return std::unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// The same error with what was being done in front: "loading x.gguf: offset 9 is beyond 5".
[[nodiscard]] inline std::unexpected<Error> Wrap(Error error, std::string_view doing) {
  return std::unexpected(Error{error.code, fmt::format("{}: {}", doing, error.message)});
}

}  // namespace exo

#define EXO_TRY_IMPL(result, expr)                                  \
  __extension__({                                                   \
    auto result = (expr);                                           \
    if (!result) return std::unexpected(std::move(result).error()); \
    *std::move(result);                                             \
  })
#define EXO_TRY_NAME(counter, expr) EXO_TRY_IMPL(try_result_##counter, expr)
#define EXO_TRY_EXPAND(counter, expr) EXO_TRY_NAME(counter, expr)
#define TRY(expr) EXO_TRY_EXPAND(__COUNTER__, expr)
