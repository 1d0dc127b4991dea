#include "model/gguf_value.h"

#include <array>

namespace exo::model {
namespace {

constexpr std::array<std::string_view, kValueTypes> kTypeNames = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

// Bytes of a fixed-size value; 0 for strings and arrays.
constexpr std::array<uint8_t, kValueTypes> kTypeBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

Result<void> CheckType(uint32_t type, std::string_view key) {
  if (type < kValueTypes) return {};
  return Fail(ErrorCode::kCorrupt, "key '{}' has the unknown value type {}", key, type);
}

Result<void> SkipElements(Cursor& cursor, uint32_t type, uint64_t count, std::string_view key,
                          int depth);

Result<void> SkipElement(Cursor& cursor, uint32_t type, std::string_view key, int depth) {
  if (type == static_cast<uint32_t>(ValueType::kString)) {
    TRY(cursor.ReadString(key, kMaxGgufString));
    return {};
  }
  if (depth >= kMaxArrayDepth) {
    return Fail(ErrorCode::kCorrupt, "key '{}' nests arrays deeper than {}", key, kMaxArrayDepth);
  }
  const auto inner = TRY(cursor.Read<uint32_t>(key));
  const auto count = TRY(cursor.Read<uint64_t>(key));
  return SkipElements(cursor, inner, count, key, depth + 1);
}

Result<void> SkipElements(Cursor& cursor, uint32_t type, uint64_t count, std::string_view key,
                          int depth) {
  TRY(CheckType(type, key));
  if (count > kMaxGgufArray) {
    return Fail(ErrorCode::kCorrupt, "key '{}' claims {} elements, the limit is {}", key, count,
                kMaxGgufArray);
  }
  if (kTypeBytes[type] != 0) return cursor.Skip(count, kTypeBytes[type], key);
  for (uint64_t i = 0; i < count; ++i) {
    TRY(SkipElement(cursor, type, key, depth));
  }
  return {};
}

Result<GgufValue> ReadArray(Cursor& cursor, std::string_view key) {
  GgufArray array;
  array.element_type = TRY(cursor.Read<uint32_t>(key));
  array.count = TRY(cursor.Read<uint64_t>(key));
  const uint64_t start = cursor.at();
  TRY(SkipElements(cursor, array.element_type, array.count, key, 1));
  array.bytes = cursor.Since(start);
  return array;
}

template <class Stored, class T>
Result<GgufValue> ReadNumber(Cursor& cursor, std::string_view key) {
  return GgufValue(static_cast<Stored>(TRY(cursor.Read<T>(key))));
}

Result<GgufValue> ReadBool(Cursor& cursor, std::string_view key) {
  const auto byte = TRY(cursor.Read<uint8_t>(key));
  if (byte > 1) return Fail(ErrorCode::kCorrupt, "key '{}' is a bool with the value {}", key, byte);
  return GgufValue(byte == 1);
}

}  // namespace

Result<GgufValue> ReadValue(Cursor& cursor, uint32_t type, std::string_view key) {
  TRY(CheckType(type, key));
  switch (static_cast<ValueType>(type)) {
    case ValueType::kU8:
      return ReadNumber<uint64_t, uint8_t>(cursor, key);
    case ValueType::kI8:
      return ReadNumber<int64_t, int8_t>(cursor, key);
    case ValueType::kU16:
      return ReadNumber<uint64_t, uint16_t>(cursor, key);
    case ValueType::kI16:
      return ReadNumber<int64_t, int16_t>(cursor, key);
    case ValueType::kU32:
      return ReadNumber<uint64_t, uint32_t>(cursor, key);
    case ValueType::kI32:
      return ReadNumber<int64_t, int32_t>(cursor, key);
    case ValueType::kF32:
      return ReadNumber<double, float>(cursor, key);
    case ValueType::kBool:
      return ReadBool(cursor, key);
    case ValueType::kString:
      return GgufValue(std::string(TRY(cursor.ReadString(key, kMaxGgufString))));
    case ValueType::kArray:
      return ReadArray(cursor, key);
    case ValueType::kU64:
      return ReadNumber<uint64_t, uint64_t>(cursor, key);
    case ValueType::kI64:
      return ReadNumber<int64_t, int64_t>(cursor, key);
    case ValueType::kF64:
      return ReadNumber<double, double>(cursor, key);
  }
  return Fail(ErrorCode::kCorrupt, "key '{}' has the unknown value type {}", key, type);
}

std::string DescribeType(const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value)) {
    return fmt::format("an array of {}", kTypeNames[array->element_type]);
  }
  constexpr std::array<std::string_view, 5> kNames = {"an unsigned number", "a signed number",
                                                      "a float", "a bool", "a string"};
  return std::string(kNames[value.index()]);
}

}  // namespace exo::model
