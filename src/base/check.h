// CHECK: for bugs only, on in release builds, prints its operands and ends the process. Bytes from
// the network or a file must never be able to trip one.
#pragma once

#include <fmt/core.h>

#include <string>

namespace exo::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const std::string& what);

template <class A, class B>
[[noreturn]] void CheckOpFailed(const char* file, int line, const char* expr, const A& a,
                                const B& b) {
  if constexpr (fmt::is_formattable<A>::value && fmt::is_formattable<B>::value) {
    CheckFailed(file, line, fmt::format("{} ({} against {})", expr, a, b));
  } else {
    CheckFailed(file, line, expr);
  }
}
}  // namespace exo::internal

#define CHECK(cond) \
  (static_cast<bool>(cond) ? void() : ::exo::internal::CheckFailed(__FILE__, __LINE__, #cond))
#define EXO_CHECK_OP(op, a, b)                                                                   \
  do {                                                                                           \
    const auto& check_a_ = (a);                                                                  \
    const auto& check_b_ = (b);                                                                  \
    if (!(check_a_ op check_b_)) {                                                               \
      ::exo::internal::CheckOpFailed(__FILE__, __LINE__, #a " " #op " " #b, check_a_, check_b_); \
    }                                                                                            \
  } while (false)
#define CHECK_EQ(a, b) EXO_CHECK_OP(==, a, b)
#define CHECK_NE(a, b) EXO_CHECK_OP(!=, a, b)
#define CHECK_LT(a, b) EXO_CHECK_OP(<, a, b)
#define CHECK_LE(a, b) EXO_CHECK_OP(<=, a, b)
#define CHECK_GT(a, b) EXO_CHECK_OP(>, a, b)
#define CHECK_GE(a, b) EXO_CHECK_OP(>=, a, b)
