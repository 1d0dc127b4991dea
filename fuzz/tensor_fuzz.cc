// Coded rows as a peer may send them: refused, or values that can be coded and sent on. The first
// two bytes are the codec and the width.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "tensor/row_codec.h"

using exo::tensor::RowCodec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto codec = static_cast<RowCodec>(data[0] % 4);
  const size_t width = size_t{data[1]} + 1;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(2);
  const size_t row_bytes = exo::tensor::CodedRowBytes(codec, width);
  std::vector<float> rows(bytes.size() / row_bytes * width);
  if (!exo::tensor::DecodeRows(codec, width, bytes, rows)) return 0;
  if (bytes.size() % row_bytes != 0) std::abort();
  std::vector<std::byte> coded(bytes.size());
  exo::tensor::CodeRows(codec, width, rows, coded);
  std::vector<float> again(rows.size());
  if (!exo::tensor::DecodeRows(codec, width, coded, again)) std::abort();
  return 0;
}
