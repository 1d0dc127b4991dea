// One frame being received: memory aligned to 64 bytes (so is its tensor), kept from frame to
// frame.
//
// Thread: that of the connection. Owner: the connection.
#pragma once

#include <memory>
#include <new>
#include <span>

#include "base/result.h"
#include "net/tls.h"
#include "wire/codec.h"

namespace exo::net {

class FrameBuffer {
 public:
  enum class State { kFrame, kMore, kClosed };

  // Reads until the frame is complete, the socket has no more, or it closed (stream.error()).
  // `*budget` is what may be read in this call; kMore with *budget == 0 says that more may be
  // there. Errors: kCorrupt (header, sequence, over `limit`): the connection must end.
  Result<State> Fill(TlsStream& stream, uint64_t limit, uint64_t sequence, uint64_t* budget);
  // Ready for the next frame; memory beyond `keep` bytes is given back.
  void Clear(size_t keep = SIZE_MAX);
  void Reserve(size_t bytes);

  const wire::FrameHeader& header() const { return header_; }
  std::span<const std::byte> metadata() const {
    return {data_.get() + wire::kHeaderBytes, header_.metadata_bytes};
  }
  std::span<const std::byte> tensor() const {
    if (header_.tensor_bytes == 0) return {};
    return {data_.get() + header_.TensorOffset(), header_.tensor_bytes};
  }
  size_t size() const { return have_; }

 private:
  struct Delete {
    void operator()(std::byte* data) const {
      ::operator delete(data, std::align_val_t{wire::kTensorAlign});
    }
  };
  std::unique_ptr<std::byte, Delete> data_;
  size_t capacity_ = 0;
  size_t have_ = 0;
  size_t need_ = wire::kHeaderBytes;
  wire::FrameHeader header_;
};

}  // namespace exo::net
