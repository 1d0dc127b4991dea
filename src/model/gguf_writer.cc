#include "model/gguf_writer.h"

#include "base/units.h"

namespace exo::model {

std::string EncodeText(std::string_view text) {
  return EncodeNumber(uint64_t{text.size()}).append(text);
}

std::string EncodeKey(std::string_view key, ValueType type, std::string_view bytes) {
  return (EncodeText(key) + EncodeNumber(type)).append(bytes);
}

std::string EncodeTensor(std::string_view name, std::span<const uint64_t> dims, uint32_t type,
                         uint64_t offset) {
  std::string entry = EncodeText(name) + EncodeNumber(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) entry += EncodeNumber(dim);
  return entry + EncodeNumber(type) + EncodeNumber(offset);
}

void GgufWriter::Key(std::string_view key, ValueType type, std::string_view bytes) {
  keys_.push_back(EncodeKey(key, type, bytes));
}

void GgufWriter::Tensor(std::string_view name, std::span<const uint64_t> dims, uint32_t type,
                        uint64_t bytes) {
  tensors_.push_back(EncodeTensor(name, dims, type, data_bytes_));
  data_bytes_ += bytes + Padding(bytes);
}

std::string GgufWriter::Head() const {
  std::string head = EncodeNumber(kGgufMagic) + EncodeNumber(kGgufVersion);
  head += EncodeNumber(uint64_t{tensors_.size()}) + EncodeNumber(uint64_t{keys_.size()});
  for (const std::string& key : keys_) head += key;
  for (const std::string& tensor : tensors_) head += tensor;
  head.resize(RoundUp(head.size(), alignment_));
  return head;
}

uint64_t GgufWriter::Padding(uint64_t bytes) const {
  return RoundUp(bytes, alignment_) - bytes;
}

}  // namespace exo::model
