#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "checkpoint/json_fields.h"

namespace exo::checkpoint {
namespace {

using nlohmann::json;

constexpr size_t kMaxTensors = 1u << 20;  // of a file: experts are one by one
constexpr size_t kMaxAxes = 8;
constexpr uint64_t kMaxElements = uint64_t{1} << 48;  // keeps products in 64 bits

struct ElementType {
  std::string_view name;
  Element element;
  uint64_t bytes;
};
constexpr std::array kElements = std::to_array<ElementType>({
    {"F32", Element::kF32, 4},
    {"F16", Element::kF16, 2},
    {"BF16", Element::kBF16, 2},
    {"U32", Element::kU32, 4},
    {"F64", Element::kOther, 8},
    {"I64", Element::kOther, 8},
    {"U64", Element::kOther, 8},
    {"I32", Element::kOther, 4},
    {"I16", Element::kOther, 2},
    {"U16", Element::kOther, 2},
    {"I8", Element::kOther, 1},
    {"U8", Element::kOther, 1},
    {"BOOL", Element::kOther, 1},
    {"F8_E4M3", Element::kOther, 1},
    {"F8_E5M2", Element::kOther, 1},
});

// The whole numbers of an array; nothing when it is none, or of another length.
std::optional<std::vector<uint64_t>> Numbers(const json* array, size_t least, size_t most) {
  if (array == nullptr || !array->is_array() || array->size() < least || array->size() > most)
    return std::nullopt;
  std::vector<uint64_t> numbers;
  for (const json& number : *array) {
    if (!number.is_number_unsigned()) return std::nullopt;
    numbers.push_back(number.get<uint64_t>());
  }
  return numbers;
}

// `room`: bytes of data in the file. The offset counts from their start.
Result<StoredTensor> ReadStored(const std::string& name, const json& entry, uint64_t room) {
  if (!entry.is_object()) return Fail(ErrorCode::kCorrupt, "tensor '{}' has no description", name);
  const Fields fields(entry, fmt::format("tensor '{}'", name));
  StoredTensor tensor{.name = name};
  tensor.element_name = TRY(fields.Text("dtype"));
  const auto type = std::ranges::find(kElements, tensor.element_name, &ElementType::name);
  if (type == kElements.end()) {
    return Fail(ErrorCode::kCorrupt, "tensor '{}' has the unknown type '{}'", name,
                tensor.element_name);
  }
  tensor.element = type->element;
  const auto shape = Numbers(fields.Find("shape"), 0, kMaxAxes);
  if (!shape) {
    return Fail(ErrorCode::kCorrupt, "tensor '{}' has no shape of at most {} whole numbers", name,
                kMaxAxes);
  }
  uint64_t values = 1;
  for (const uint64_t size : *shape) {
    if (size == 0 || size > kMaxElements / values) {
      return Fail(ErrorCode::kCorrupt, "tensor '{}' has an axis of {}, which is impossible", name,
                  size);
    }
    values *= size;
  }
  tensor.shape = *shape;
  const auto place = Numbers(fields.Find("data_offsets"), 2, 2);
  if (!place) return Fail(ErrorCode::kCorrupt, "tensor '{}' has no two data_offsets", name);
  const uint64_t begin = (*place)[0], end = (*place)[1];
  if (begin > end || end > room) {
    return Fail(ErrorCode::kCorrupt,
                "tensor '{}': data at [{}, {}) is beyond the {} bytes of data (cut off?)", name,
                begin, end, room);
  }
  if (end - begin != values * type->bytes) {
    return Fail(ErrorCode::kCorrupt, "tensor '{}': {} bytes of data for {} values of {}", name,
                end - begin, values, tensor.element_name);
  }
  tensor.offset = begin;
  tensor.bytes = end - begin;
  return tensor;
}

}  // namespace

uint64_t StoredTensor::values() const {
  uint64_t product = 1;
  for (const uint64_t size : shape) product *= size;
  return product;
}

uint64_t ElementBytes(Element element) {
  const auto type = std::ranges::find(kElements, element, &ElementType::element);
  return element == Element::kOther ? 0 : type->bytes;
}

Result<uint64_t> SafetensorsHeadBytes(std::span<const std::byte> begin, uint64_t file_bytes) {
  if (begin.size() < kSafetensorsPrefix || file_bytes < kSafetensorsPrefix)
    return Fail(ErrorCode::kCorrupt, "{} bytes are too short for a safetensors file", file_bytes);
  uint64_t bytes = 0;
  std::memcpy(&bytes, begin.data(), sizeof(bytes));
  if (bytes > std::min(kMaxSafetensorsHead, file_bytes - kSafetensorsPrefix)) {
    return Fail(ErrorCode::kCorrupt,
                "its head claims {} bytes of a file of {} (limit {}): not a safetensors file, or "
                "cut off",
                bytes, file_bytes, kMaxSafetensorsHead);
  }
  return bytes;
}

Result<std::vector<StoredTensor>> ParseSafetensors(std::string_view head, uint64_t file_bytes,
                                                   uint32_t file) {
  const uint64_t data = kSafetensorsPrefix + head.size();
  if (file_bytes < data)
    return Fail(ErrorCode::kCorrupt, "a head of {} bytes in a file of {}", head.size(), file_bytes);
  const json document = TRY(ParseObject(head, "the head"));
  if (document.size() > kMaxTensors) {
    return Fail(ErrorCode::kCorrupt, "the head names {} tensors (limit {})", document.size(),
                kMaxTensors);
  }
  std::vector<StoredTensor> tensors;
  for (const auto& [name, entry] : document.items()) {
    if (name == "__metadata__") continue;
    StoredTensor tensor = TRY(ReadStored(name, entry, file_bytes - data));
    tensor.file = file;
    tensor.offset += data;
    tensors.push_back(std::move(tensor));
  }
  std::ranges::sort(tensors, {}, &StoredTensor::offset);
  for (size_t i = 1; i < tensors.size(); ++i) {
    if (tensors[i - 1].offset + tensors[i - 1].bytes <= tensors[i].offset) continue;
    return Fail(ErrorCode::kCorrupt, "tensors '{}' and '{}' overlap in the file",
                tensors[i - 1].name, tensors[i].name);
  }
  const uint64_t end = tensors.empty() ? data : tensors.back().offset + tensors.back().bytes;
  if (end != file_bytes) {
    return Fail(ErrorCode::kCorrupt,
                "{} bytes behind the data of the last tensor: the file is damaged, fetch it again",
                file_bytes - end);
  }
  return tensors;
}

}  // namespace exo::checkpoint
