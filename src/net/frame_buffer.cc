#include "net/frame_buffer.h"

#include <algorithm>
#include <cstring>

namespace exo::net {

void FrameBuffer::Reserve(size_t bytes) {
  if (bytes <= capacity_) return;
  // Not doubled: sizes repeat from frame to frame, and the largest is soon met.
  bytes = RoundUp(bytes, 4096);
  std::unique_ptr<std::byte, Delete> larger(
      static_cast<std::byte*>(::operator new(bytes, std::align_val_t{wire::kTensorAlign})));
  if (have_ > 0) std::memcpy(larger.get(), data_.get(), have_);
  data_ = std::move(larger);
  capacity_ = bytes;
}

void FrameBuffer::Clear(size_t keep) {
  have_ = 0;
  need_ = wire::kHeaderBytes;
  header_ = {};
  if (capacity_ > keep) {
    data_.reset();
    capacity_ = 0;
  }
}

Result<FrameBuffer::State> FrameBuffer::Fill(TlsStream& stream, uint64_t limit, uint64_t sequence,
                                             uint64_t* budget) {
  Reserve(wire::kHeaderBytes);
  for (;;) {
    while (have_ < need_) {
      if (*budget == 0) return State::kMore;
      size_t got = 0;
      const size_t want = std::min<uint64_t>(need_ - have_, *budget);
      switch (stream.Read({data_.get() + have_, want}, &got)) {
        case TlsStream::Step::kDone:
          break;
        case TlsStream::Step::kClosed:
          return State::kClosed;
        default:
          return State::kMore;
      }
      have_ += got;
      *budget -= got;
    }
    if (need_ > wire::kHeaderBytes) return State::kFrame;
    header_ = TRY(wire::ParseHeader({data_.get(), wire::kHeaderBytes}, limit));
    if (header_.sequence != sequence) {
      return Fail(ErrorCode::kCorrupt, "frame {} came where {} was due", header_.sequence,
                  sequence);
    }
    need_ = header_.FrameBytes();
    if (need_ == wire::kHeaderBytes) return Fail(ErrorCode::kCorrupt, "frame without metadata");
    Reserve(need_);
  }
}

}  // namespace exo::net
