// The rows of a step on the links of a plan: as the plan's codec has them (tensor/row_codec.h), and
// back. With f32 they are the values themselves, and nothing is copied.
//
// Memory for whole chunks is taken at once rather than in the middle of an answer. Thread: that of
// the links. Owner: the loop of the stage.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "tensor/row_codec.h"
#include "wire/messages.h"

namespace exo::engine {

tensor::RowCodec RowCodecOf(wire::Codec codec);

// Rows that stages of a node have sent to others, for its metrics. Thread: any.
struct SentRows {
  std::atomic<uint64_t> rows{0};
  std::atomic<uint64_t> bytes{0};  // of the rows as coded, without frames and TLS
};

class CodedRows {
 public:
  // `width` of a row; at most `chunk` rows come together. What is coded counts as `sent`, once for
  // each of its links (null: nobody counts).
  CodedRows(wire::Codec codec, size_t width, size_t chunk, SentRows* sent = nullptr);

  // rows [n][width], to be sent on so many links; valid until the next call, or with the rows.
  std::span<const std::byte> Code(std::span<const float> rows, size_t links);
  // Rows [n][width]; valid until the next call, or with the bytes. Errors: kCorrupt (no whole rows,
  // more than the chunk has, or not coded).
  Result<std::span<const float>> Decode(std::span<const std::byte> bytes);

 private:
  const tensor::RowCodec codec_;
  const size_t width_;
  const size_t chunk_;
  SentRows* const sent_;
  std::vector<std::byte> coded_;
  std::vector<float> rows_;
};

}  // namespace exo::engine
