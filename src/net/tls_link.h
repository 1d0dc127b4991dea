// DataLink over TLS; made by ConnectLink and, for accepted connections, by Peers.
//
// With Overlap a second thread, the mover, does what is left to do while the owner is not inside:
// the owner holds the mutex for as long as it is, also while it waits.
//
// Thread: as DataLink.
#pragma once

#include <deque>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "net/connect_link.h"
#include "net/frame_buffer.h"
#include "net/tls.h"
#include "sys/process.h"

namespace exo::net {

class TlsLink final : public DataLink {
 public:
  // Sequences: the next frame number in each direction (the handshake used the first ones).
  struct Sequences {
    uint64_t send = 0;
    uint64_t receive = 0;
  };
  TlsLink(std::unique_ptr<TlsStream> stream, Sequences sequences);
  ~TlsLink() override;

  Result<void> Send(const wire::Message& message, std::span<const std::byte> tensor,
                    Time deadline) override;
  Result<Outcome> Poll(Time deadline, int wake_fd) override;
  void SetFrameLimit(uint64_t bytes) override;
  void SetSpin(Time spin) override { spin_ = spin; }
  void Overlap() override;
  void Shutdown() override;
  const NodeId& peer() const override { return stream_->peer(); }
  std::optional<double> SendMbps() override;

 private:
  using Buffer = std::unique_ptr<FrameBuffer>;

  std::unexpected<Error> Dead(ErrorCode code, std::string reason) EXO_REQUIRES(mutex_);
  // Reads what is there into the queue. Errors end the link, except that frames before the end stay
  // takeable.
  void Receive() EXO_REQUIRES(mutex_);
  // For `spin_` and until `deadline` at most, unless that is mostly in vain.
  void Spin(Time deadline) EXO_REQUIRES(mutex_);
  bool QueueIsFull() const EXO_REQUIRES(mutex_);
  Result<void> SendNow(std::span<const std::byte> tensor, Time deadline) EXO_REQUIRES(mutex_);
  Result<void> SendOrLeave(std::span<const std::byte> tensor, Time deadline) EXO_REQUIRES(mutex_);
  // What the kernel takes of `bytes` at once; the rest.
  std::span<const std::byte> Write(std::span<const std::byte> bytes) EXO_REQUIRES(mutex_);
  Result<void> WriteAll(std::span<const std::byte> bytes, Time deadline) EXO_REQUIRES(mutex_);
  Result<void> WaitToWrite(Time deadline) EXO_REQUIRES(mutex_);
  // Whether the kernel has all.
  bool Flush() EXO_REQUIRES(mutex_);
  Result<Outcome> Take() EXO_REQUIRES(mutex_);
  Result<Outcome> WaitForFrame(Time deadline, int wake_fd) EXO_REQUIRES(mutex_);
  Buffer Fresh() EXO_REQUIRES(mutex_);
  size_t unsent() const EXO_REQUIRES(mutex_) { return unsent_.size() - unsent_from_; }
  bool HasUnsent() const EXO_REQUIRES(mutex_) { return unsent() > 0 || !flushed_; }
  void Leave(std::span<const std::byte> bytes) EXO_REQUIRES(mutex_);
  void SendLeft() EXO_REQUIRES(mutex_);
  // The owner goes: the mover takes over if there is something to move.
  void LetMove() EXO_REQUIRES(mutex_);
  void Move() EXO_EXCLUDES(mutex_);

  const std::unique_ptr<TlsStream> stream_;
  Mutex mutex_;
  Sequences sequences_ EXO_GUARDED_BY(mutex_);
  uint64_t limit_ EXO_GUARDED_BY(mutex_) = wire::kMaxDataFrame;
  bool drained_ EXO_GUARDED_BY(mutex_) = false;       // the last read found nothing more
  std::optional<Error> dead_ EXO_GUARDED_BY(mutex_);  // why, once the connection has ended
  Buffer filling_ EXO_GUARDED_BY(mutex_);             // the frame that is being received
  std::deque<Buffer> queue_ EXO_GUARDED_BY(mutex_);   // complete frames, oldest first
  std::vector<Buffer> free_ EXO_GUARDED_BY(mutex_);   // memory for later frames
  bool flushed_ EXO_GUARDED_BY(mutex_) = true;
  std::vector<std::byte> unsent_ EXO_GUARDED_BY(mutex_);  // what Send left, from unsent_from_ on
  size_t unsent_from_ EXO_GUARDED_BY(mutex_) = 0;
  bool moves_ EXO_GUARDED_BY(mutex_) = false;  // the mover's turn
  bool ending_ EXO_GUARDED_BY(mutex_) = false;
  CondVar turn_;
  // Of the owner alone.
  Time spin_{};
  uint32_t looks_in_vain_ = 0;  // in a row
  uint32_t left_out_ = 0;       // since
  uint64_t held_up_us_ = 0;     // by a peer without room, when the rate was last looked at
  Buffer borrowed_;             // the frame that it looks at
  wire::Message borrowed_message_;
  std::vector<std::byte> head_;  // scratch of Send
  sys::WakeFd wake_mover_;
  std::thread mover_;
};

}  // namespace exo::net
