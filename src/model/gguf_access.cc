// Look-ups in a parsed GGUF head, and joining the parts of a split model.
#include <algorithm>
#include <cstring>

#include "model/gguf.h"
#include "model/gguf_value.h"
#include "tensor/dtype.h"

namespace exo::model {
namespace {

std::unexpected<Error> Absent(std::string_view key) {
  return Fail(ErrorCode::kNotFound, "the file has no key '{}'", key);
}

std::unexpected<Error> WrongType(std::string_view key, const GgufValue& value,
                                 std::string_view expected) {
  return Fail(ErrorCode::kInvalid, "the key '{}' is {} instead of {}", key, DescribeType(value),
              expected);
}

template <class T>
T Element(const GgufArray& array, uint64_t index) {
  T value;
  std::memcpy(&value, array.bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

template <class Out, class T>
std::vector<Out> Convert(const GgufArray& array) {
  std::vector<Out> out(array.count);
  for (uint64_t i = 0; i < array.count; ++i) out[i] = static_cast<Out>(Element<T>(array, i));
  return out;
}

Result<const GgufArray*> FindArray(const Gguf& gguf, std::string_view key,
                                   std::string_view expected) {
  const GgufValue* value = gguf.Find(key);
  if (value == nullptr) return Absent(key);
  const auto* array = std::get_if<GgufArray>(value);
  if (array == nullptr) return WrongType(key, *value, expected);
  return array;
}

// split.no, split.count and split.tensors.count of one part.
struct SplitKeys {
  uint64_t number = 0;
  uint64_t count = 1;
  uint64_t tensors = 0;
};

Result<SplitKeys> ReadSplitKeys(const Gguf& part) {
  const auto number = part.GetUint("split.no");
  const auto count = part.GetUint("split.count");
  if (!number)
    return Fail(ErrorCode::kCorrupt, "a part of a split model: {}", number.error().message);
  if (!count)
    return Fail(ErrorCode::kCorrupt, "a part of a split model: {}", count.error().message);
  SplitKeys keys{.number = *number, .count = *count};
  const GgufValue* total = part.Find("split.tensors.count");
  if (total == nullptr)
    return Fail(ErrorCode::kCorrupt, "a part of a split model has no split.tensors.count");
  if (const auto* u = std::get_if<uint64_t>(total)) keys.tensors = *u;
  if (const auto* i = std::get_if<int64_t>(total); i != nullptr && *i >= 0)
    keys.tensors = static_cast<uint64_t>(*i);
  return keys;
}

}  // namespace

uint32_t Gguf::split_count() const {
  const auto count = GetUint("split.count");
  return count && *count > 1 ? static_cast<uint32_t>(std::min<uint64_t>(*count, kMaxGgufTensors))
                             : 1;
}

const GgufTensor* Gguf::FindTensor(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const GgufValue* Gguf::Find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

Result<uint64_t> Gguf::GetUint(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Absent(key);
  if (const auto* u = std::get_if<uint64_t>(value)) return *u;
  if (const auto* i = std::get_if<int64_t>(value)) {
    if (*i >= 0) return static_cast<uint64_t>(*i);
    return Fail(ErrorCode::kInvalid, "the key '{}' is {}, which may not be negative", key, *i);
  }
  return WrongType(key, *value, "an unsigned number");
}

Result<double> Gguf::GetFloat(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Absent(key);
  if (const auto* f = std::get_if<double>(value)) return *f;
  if (const auto* u = std::get_if<uint64_t>(value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(value)) return static_cast<double>(*i);
  return WrongType(key, *value, "a number");
}

Result<bool> Gguf::GetBool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Absent(key);
  if (const auto* b = std::get_if<bool>(value)) return *b;
  return WrongType(key, *value, "a bool");
}

Result<std::string> Gguf::GetString(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Absent(key);
  if (const auto* s = std::get_if<std::string>(value)) return *s;
  return WrongType(key, *value, "a string");
}

Result<std::vector<std::string>> Gguf::GetStrings(std::string_view key) const {
  const GgufArray& array = *TRY(FindArray(*this, key, "an array of strings"));
  if (array.element_type != static_cast<uint32_t>(ValueType::kString)) {
    return WrongType(key, array, "an array of strings");
  }
  std::vector<std::string> strings;
  strings.reserve(array.count);
  Cursor cursor(array.bytes);
  for (uint64_t i = 0; i < array.count; ++i) {
    strings.emplace_back(TRY(cursor.ReadString(key, kMaxGgufString)));
  }
  return strings;
}

Result<std::vector<float>> Gguf::GetFloats(std::string_view key) const {
  const GgufArray& array = *TRY(FindArray(*this, key, "an array of floats"));
  switch (static_cast<ValueType>(array.element_type)) {
    case ValueType::kF32:
      return Convert<float, float>(array);
    case ValueType::kF64:
      return Convert<float, double>(array);
    default:
      return WrongType(key, array, "an array of floats");
  }
}

Result<std::vector<int64_t>> Gguf::GetInts(std::string_view key) const {
  const GgufArray& array = *TRY(FindArray(*this, key, "an array of integers"));
  switch (static_cast<ValueType>(array.element_type)) {
    case ValueType::kU8:
      return Convert<int64_t, uint8_t>(array);
    case ValueType::kI8:
      return Convert<int64_t, int8_t>(array);
    case ValueType::kU16:
      return Convert<int64_t, uint16_t>(array);
    case ValueType::kI16:
      return Convert<int64_t, int16_t>(array);
    case ValueType::kU32:
      return Convert<int64_t, uint32_t>(array);
    case ValueType::kI32:
      return Convert<int64_t, int32_t>(array);
    case ValueType::kU64:
      return Convert<int64_t, uint64_t>(array);
    case ValueType::kI64:
      return Convert<int64_t, int64_t>(array);
    default:
      return WrongType(key, array, "an array of integers");
  }
}

Result<Gguf> Gguf::JoinSplits(std::vector<Gguf> parts) {
  if (parts.empty()) return Fail(ErrorCode::kInvalid, "a model without files");
  if (parts.size() == 1 && parts[0].split_count() == 1) return std::move(parts[0]);
  uint64_t expected = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const SplitKeys keys = TRY(ReadSplitKeys(parts[i]));
    if (keys.count != parts.size() || keys.number != i) {
      return Fail(ErrorCode::kCorrupt, "file {} of {} says that it is part {} of {}", i + 1,
                  parts.size(), keys.number + 1, keys.count);
    }
    if (i == 0) expected = keys.tensors;
    if (keys.tensors != expected) {
      return Fail(ErrorCode::kCorrupt,
                  "part {} belongs to a model of {} tensors, part 1 to one of {}", i + 1,
                  keys.tensors, expected);
    }
  }
  Gguf joined = std::move(parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) {
    for (GgufTensor& tensor : parts[i].tensors_) {
      tensor.part = static_cast<uint32_t>(i);
      const auto [place, fresh] = joined.by_name_.emplace(tensor.name, joined.tensors_.size());
      if (!fresh) return Fail(ErrorCode::kCorrupt, "the tensor '{}' is in two parts", place->first);
      joined.tensors_.push_back(std::move(tensor));
    }
  }
  if (joined.tensors_.size() != expected) {
    return Fail(ErrorCode::kCorrupt, "the parts hold {} tensors instead of {}",
                joined.tensors_.size(), expected);
  }
  return joined;
}

WeightCount CountWeights(const Gguf& gguf) {
  WeightCount weights;
  std::map<uint32_t, uint64_t> by_type;
  for (const GgufTensor& tensor : gguf.tensors()) {
    uint64_t count = 1;
    for (const uint64_t extent : tensor.dims) count *= extent;
    weights.parameters += count;
    by_type[tensor.type] += count;
  }
  const auto most =
      std::ranges::max_element(by_type, {}, [](const auto& entry) { return entry.second; });
  if (most != by_type.end()) weights.type = tensor::GgufTypeName(most->first);
  return weights;
}

}  // namespace exo::model
