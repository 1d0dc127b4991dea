// The head of a safetensors file: 8 bytes with the length of a JSON object, then that object, then
// the tensors' data. https://huggingface.co/docs/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exo::checkpoint {

// Longest head that is read (the format's own limit is 100 MB; ten times the largest published one
// is less than this).
inline constexpr uint64_t kMaxSafetensorsHead = 64u << 20;
inline constexpr uint64_t kSafetensorsPrefix = 8;  // bytes of the length

// Elements that are computed with here; kOther may stand in a file and may not be used.
enum class Element : uint8_t { kF32, kF16, kBF16, kU32, kOther };

struct StoredTensor {
  std::string name;
  Element element = Element::kOther;
  std::string element_name;     // as the file has it: "BF16"
  std::vector<uint64_t> shape;  // row-major: the last is a row's length; empty: a single number
  uint32_t file = 0;            // index of the file that holds it
  uint64_t offset = 0;          // from the start of that file
  uint64_t bytes = 0;

  uint64_t values() const;
};

// Bytes of an element; 0 for kOther.
uint64_t ElementBytes(Element element);

// Length of the JSON object. `begin`: the first 8 bytes of a file of `file_bytes`.
// Errors: kCorrupt (too short, longer than the file or the limit; with the number).
Result<uint64_t> SafetensorsHeadBytes(std::span<const std::byte> begin, uint64_t file_bytes);

// Tensors in the order of their data. `head`: the JSON object of a file of `file_bytes`, which is
// number `file` of its checkpoint. Errors: kCorrupt, naming the tensor (no shape or offsets, data
// outside the file or of another size than the shape, two tensors in one place), or with the number
// of bytes behind the last one's data.
Result<std::vector<StoredTensor>> ParseSafetensors(std::string_view head, uint64_t file_bytes,
                                                   uint32_t file);

}  // namespace exo::checkpoint
