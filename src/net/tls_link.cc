#include "net/tls_link.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/thread.h"
#include "sys/system.h"
#include "wire/codec.h"

namespace exo::net {
namespace {

// A TLS record: the head of a frame and the start of its tensor share the first one.
constexpr size_t kFirstRecord = 16 << 10;
// Unread frames beyond this many bytes stop the reading, unless there are fewer than two of them.
constexpr size_t kMaxQueuedBytes = 64 << 20;
// What Send leaves to the mover at most: beyond that it waits, so that a peer that does not read
// holds the sender up.
constexpr size_t kMaxUnsentBytes = 64 << 20;
// After a frame of so many bytes others like it follow while it is computed, more than the kernel
// keeps: the mover reads them.
constexpr size_t kLargeFrame = 64 << 10;
// Who has looked so often in vain waits for somebody slow: looking only takes the processor from
// others, and a quota from this one. Then every so manieth wait is tried again.
constexpr uint32_t kMostInVain = 8;
constexpr uint32_t kTryAgain = 32;

}  // namespace

TlsLink::TlsLink(std::unique_ptr<TlsStream> stream, Sequences sequences)
    : stream_(std::move(stream)), sequences_(sequences), filling_(std::make_unique<FrameBuffer>()) {
  SetLinkOptions(stream_->fd());
}

TlsLink::~TlsLink() {
  {
    const MutexLock lock(mutex_);
    ending_ = true;
  }
  turn_.NotifyOne();
  wake_mover_.Notify();
  if (mover_.joinable()) mover_.join();
}

std::unexpected<Error> TlsLink::Dead(ErrorCode code, std::string reason) {
  if (!dead_) dead_ = Error{code, fmt::format("link to {}: {}", peer().Short(), reason)};
  return std::unexpected(*dead_);
}

TlsLink::Buffer TlsLink::Fresh() {
  if (free_.empty()) return std::make_unique<FrameBuffer>();
  Buffer buffer = std::move(free_.back());
  free_.pop_back();
  buffer->Clear();
  return buffer;
}

bool TlsLink::QueueIsFull() const {
  if (queue_.size() < 2) return false;
  size_t bytes = 0;
  for (const Buffer& buffer : queue_) bytes += buffer->size();
  return queue_.size() >= kMaxQueuedFrames || bytes > kMaxQueuedBytes;
}

void TlsLink::Receive() {
  drained_ = false;
  while (!dead_ && !QueueIsFull()) {
    uint64_t budget = UINT64_MAX;
    const auto state = filling_->Fill(*stream_, limit_, sequences_.receive, &budget);
    if (!state) {
      (void)Dead(state.error().code, state.error().message);
    } else if (*state == FrameBuffer::State::kClosed) {
      (void)Dead(ErrorCode::kDisconnected, stream_->error());
    } else if (*state == FrameBuffer::State::kMore) {
      drained_ = true;
      return;
    } else {
      ++sequences_.receive;
      if (wire::IsKnown(filling_->header().type)) {
        queue_.push_back(std::exchange(filling_, Fresh()));
      } else {
        filling_->Clear();  // of a newer version
      }
    }
  }
}

Result<void> TlsLink::WaitToWrite(Time deadline) {
  if (!drained_) Receive();
  pollfd fds[1] = {{stream_->fd(), POLLOUT, 0}};
  if (!QueueIsFull() && !dead_) fds[0].events |= POLLIN;
  if (PollUntil(fds, 1, deadline) == 0) {
    return Dead(ErrorCode::kDisconnected, "the peer takes no data");
  }
  if ((fds[0].revents & POLLIN) != 0) Receive();
  if (dead_) return std::unexpected(*dead_);
  return {};
}

std::span<const std::byte> TlsLink::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    size_t sent = 0;
    const auto step = stream_->Write(bytes, &sent);
    if (step == TlsStream::Step::kClosed) (void)Dead(ErrorCode::kDisconnected, stream_->error());
    if (step != TlsStream::Step::kDone) break;
    bytes = bytes.subspan(sent);
  }
  return bytes;
}

bool TlsLink::Flush() {
  const auto step = stream_->Flush();
  if (step == TlsStream::Step::kClosed) (void)Dead(ErrorCode::kDisconnected, stream_->error());
  flushed_ = step == TlsStream::Step::kDone;
  return flushed_;
}

Result<void> TlsLink::WriteAll(std::span<const std::byte> bytes, Time deadline) {
  for (bytes = Write(bytes); !bytes.empty(); bytes = Write(bytes)) {
    if (dead_) return std::unexpected(*dead_);
    TRY(WaitToWrite(deadline));
  }
  return {};
}

Result<void> TlsLink::SendNow(std::span<const std::byte> tensor, Time deadline) {
  TRY(WriteAll(head_, deadline));
  TRY(WriteAll(tensor, deadline));
  while (!Flush()) {
    if (dead_) return std::unexpected(*dead_);
    TRY(WaitToWrite(deadline));
  }
  return {};
}

void TlsLink::Leave(std::span<const std::byte> bytes) {
  if (unsent_from_ > unsent_.size() / 2) {
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<ptrdiff_t>(unsent_from_));
    unsent_from_ = 0;
  }
  unsent_.insert(unsent_.end(), bytes.begin(), bytes.end());
}

void TlsLink::SendLeft() {
  unsent_from_ = unsent_.size() - Write(std::span(unsent_).subspan(unsent_from_)).size();
  if (unsent() > 0) return;
  unsent_.clear();
  unsent_from_ = 0;
  Flush();
}

Result<void> TlsLink::SendOrLeave(std::span<const std::byte> tensor, Time deadline) {
  if (HasUnsent()) SendLeft();
  while (!dead_ && unsent() > kMaxUnsentBytes) {
    TRY(WaitToWrite(deadline));
    SendLeft();
  }
  std::span<const std::byte> head = head_;
  if (unsent() == 0) head = Write(head);
  if (head.empty() && unsent() == 0) tensor = Write(tensor);
  Leave(head);
  Leave(tensor);
  if (unsent() == 0) Flush();
  if (dead_) return std::unexpected(*dead_);
  return {};
}

Result<void> TlsLink::Send(const wire::Message& message, std::span<const std::byte> tensor,
                           Time deadline) {
  const MutexLock lock(mutex_);
  moves_ = false;
  if (dead_) return std::unexpected(*dead_);
  const auto head = wire::EncodeFrame(message, sequences_.send, tensor.size());
  if (head.size() + tensor.size() > wire::kMaxDataFrame) {
    return Fail(ErrorCode::kInvalid, "a frame of {} bytes is over the limit",
                head.size() + tensor.size());
  }
  ++sequences_.send;
  const size_t room = kFirstRecord > head.size() ? kFirstRecord - head.size() : 0;
  const size_t joined = std::min(room, tensor.size());
  head_.assign(head.begin(), head.end());
  head_.insert(head_.end(), tensor.begin(), tensor.begin() + static_cast<ptrdiff_t>(joined));
  if (!mover_.joinable()) return SendNow(tensor.subspan(joined), deadline);
  auto sent = SendOrLeave(tensor.subspan(joined), deadline);
  LetMove();
  return sent;
}

// Where the peer had no room, it is not the network that was slow.
std::optional<double> TlsLink::SendMbps() {
  const auto delivery = ReadDelivery(stream_->fd());
  if (!delivery || std::exchange(held_up_us_, delivery->held_up_us) != delivery->held_up_us)
    return std::nullopt;
  return delivery->mbps;
}

Result<DataLink::Outcome> TlsLink::Take() {
  borrowed_ = std::move(queue_.front());
  queue_.pop_front();
  auto message = wire::DecodeMessage(borrowed_->header().type, borrowed_->metadata());
  if (!message) return Dead(ErrorCode::kCorrupt, message.error().message);
  borrowed_message_ = std::move(*message);
  return Outcome{Event::kFrame, {&borrowed_message_, borrowed_->tensor()}};
}

void TlsLink::Spin(Time deadline) {
  if (!queue_.empty() || spin_ == Time::zero()) return;
  if (looks_in_vain_ >= kMostInVain && ++left_out_ % kTryAgain != 0) return;
  const Time end = std::min(deadline, sys::Now() + spin_);
  while (queue_.empty() && !dead_ && sys::Now() < end) Receive();
  looks_in_vain_ = queue_.empty() ? looks_in_vain_ + 1 : 0;
}

Result<DataLink::Outcome> TlsLink::WaitForFrame(Time deadline, int wake_fd) {
  if (HasUnsent()) SendLeft();
  if (queue_.empty()) Receive();
  if (!HasUnsent()) Spin(deadline);
  for (;;) {
    if (HasUnsent()) SendLeft();
    if (queue_.empty()) Receive();
    if (!queue_.empty()) return Take();
    if (dead_) return std::unexpected(*dead_);
    const short events = HasUnsent() ? POLLIN | POLLOUT : POLLIN;
    pollfd fds[2] = {{stream_->fd(), events, 0}, {wake_fd, POLLIN, 0}};
    if (PollUntil(fds, wake_fd < 0 ? 1 : 2, deadline) == 0) return Outcome{Event::kTimeout, {}};
    if (fds[0].revents == 0 && wake_fd >= 0 && fds[1].revents != 0)
      return Outcome{Event::kWoken, {}};
  }
}

Result<DataLink::Outcome> TlsLink::Poll(Time deadline, int wake_fd) {
  const MutexLock lock(mutex_);
  moves_ = false;
  if (borrowed_) free_.push_back(std::move(borrowed_));
  auto outcome = WaitForFrame(deadline, wake_fd);
  LetMove();
  return outcome;
}

void TlsLink::Overlap() {
  if (!mover_.joinable()) mover_ = StartThread([this] { Move(); });
}

void TlsLink::LetMove() {
  const bool more_may_come = borrowed_ != nullptr && borrowed_->tensor().size() >= kLargeFrame;
  moves_ = mover_.joinable() && !dead_ && (HasUnsent() || more_may_come);
  if (moves_) turn_.NotifyOne();
}

void TlsLink::Move() {
  for (;;) {
    pollfd fds[2] = {{stream_->fd(), 0, 0}, {wake_mover_.fd(), POLLIN, 0}};
    {
      const MutexLock lock(mutex_);
      while (!moves_ && !ending_) turn_.Wait(mutex_);
      if (ending_) return;
      if (HasUnsent()) SendLeft();
      Receive();
      if (HasUnsent()) fds[0].events |= POLLOUT;
      if (!QueueIsFull()) fds[0].events |= POLLIN;
      if (dead_ || fds[0].events == 0) {
        moves_ = false;  // until the owner was here
        continue;
      }
    }
    PollUntil(fds, 2, Time::max());
  }
}

void TlsLink::SetFrameLimit(uint64_t bytes) {
  const MutexLock lock(mutex_);
  limit_ = std::min<uint64_t>(bytes, wire::kMaxDataFrame);
  filling_->Reserve(limit_);
  if (free_.empty()) free_.push_back(std::make_unique<FrameBuffer>());
  free_.back()->Reserve(limit_);
}

void TlsLink::Shutdown() {
  ::shutdown(stream_->fd(), SHUT_RDWR);
}

}  // namespace exo::net
