#include "engine/coded_rows.h"

namespace exo::engine {

static_assert(static_cast<int>(tensor::RowCodec::kF16) == static_cast<int>(wire::Codec::kF16) &&
              static_cast<int>(tensor::RowCodec::kInt8) == static_cast<int>(wire::Codec::kInt8) &&
              static_cast<int>(tensor::RowCodec::kInt4) == static_cast<int>(wire::Codec::kInt4));

tensor::RowCodec RowCodecOf(wire::Codec codec) {
  return static_cast<tensor::RowCodec>(codec);
}

CodedRows::CodedRows(wire::Codec codec, size_t width, size_t chunk, SentRows* sent)
    : codec_(RowCodecOf(codec)), width_(width), chunk_(chunk), sent_(sent) {
  if (codec_ == tensor::RowCodec::kF32) return;
  coded_.reserve(chunk * tensor::CodedRowBytes(codec_, width));
  rows_.reserve(chunk * width);
}

std::span<const std::byte> CodedRows::Code(std::span<const float> rows, size_t links) {
  const size_t count = rows.size() / width_;
  const size_t bytes = count * tensor::CodedRowBytes(codec_, width_);
  if (sent_ != nullptr) {
    sent_->rows += count * links;
    sent_->bytes += bytes * links;
  }
  if (codec_ == tensor::RowCodec::kF32) return std::as_bytes(rows);
  coded_.resize(bytes);
  tensor::CodeRows(codec_, width_, rows, coded_);
  return coded_;
}

Result<std::span<const float>> CodedRows::Decode(std::span<const std::byte> bytes) {
  const size_t row_bytes = tensor::CodedRowBytes(codec_, width_);
  if (bytes.size() % row_bytes != 0 || bytes.size() / row_bytes > chunk_) {
    return Fail(ErrorCode::kCorrupt, "{} bytes of rows of {} bytes, at most {} of them",
                bytes.size(), row_bytes, chunk_);
  }
  if (codec_ == tensor::RowCodec::kF32) {
    return std::span(reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float));
  }
  rows_.resize(bytes.size() / row_bytes * width_);
  TRY(tensor::DecodeRows(codec_, width_, bytes, rows_));
  return rows_;
}

}  // namespace exo::engine
