// GGUF metadata values: reading one from the file, and walking the elements of an array in place.
#pragma once

#include "model/cursor.h"
#include "model/gguf.h"

namespace exo::model {

inline constexpr uint32_t kGgufMagic = 0x46554747;  // "GGUF"

// The value type numbers of the format.
enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
inline constexpr uint32_t kValueTypes = 13;

// Deepest array of arrays; the format allows any, no published file has more than 1.
inline constexpr int kMaxArrayDepth = 4;

// Reads a value of `type` (a number from the file). Arrays are checked element by element, not
// copied. Errors: kCorrupt naming `key`. Cost: linear in the bytes of the value.
Result<GgufValue> ReadValue(Cursor& cursor, uint32_t type, std::string_view key);

// "u32", "array of string", …
std::string DescribeType(const GgufValue& value);

}  // namespace exo::model
