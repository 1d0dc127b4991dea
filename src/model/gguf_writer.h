// The head of a GGUF v3 file as bytes: header, metadata, tensor table. Writing files and the
// tensors' data behind the head is the caller's (store/quantize.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf_value.h"

namespace exo::model {

inline constexpr uint32_t kGgufVersion = 3;

// The bytes of a number, a bool (as uint8_t) or an enum.
template <class T>
std::string EncodeNumber(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}
std::string EncodeText(std::string_view text);
// An entry of the metadata: `bytes` are those of the value, for an array with its type and count.
std::string EncodeKey(std::string_view key, ValueType type, std::string_view bytes);
// An entry of the tensor table: `offset` counts from the start of the data.
std::string EncodeTensor(std::string_view name, std::span<const uint64_t> dims, uint32_t type,
                         uint64_t offset);

class GgufWriter {
 public:
  // The data of each tensor begin at a multiple of `alignment`, which general.alignment must state
  // where it is not the default.
  explicit GgufWriter(uint64_t alignment) : alignment_(alignment) {}

  void Key(std::string_view key, ValueType type, std::string_view bytes);
  // Tensors lie in the order of the calls, each padded to the alignment.
  void Tensor(std::string_view name, std::span<const uint64_t> dims, uint32_t type, uint64_t bytes);

  // Everything in front of the data, padded.
  std::string Head() const;
  // Zero bytes that follow a tensor of so many bytes.
  uint64_t Padding(uint64_t bytes) const;

 private:
  uint64_t alignment_;
  uint64_t data_bytes_ = 0;
  std::vector<std::string> keys_;
  std::vector<std::string> tensors_;
};

}  // namespace exo::model
