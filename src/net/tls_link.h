// DataLink over TLS; made by ConnectLink and, for accepted connections, by Peers.
//
// Thread: as DataLink.
#pragma once

#include <deque>
#include <vector>

#include "net/connect_link.h"
#include "net/frame_buffer.h"
#include "net/tls.h"

namespace exo::net {

class TlsLink final : public DataLink {
 public:
  // Sequences: the next frame number in each direction (the handshake used the first ones).
  struct Sequences {
    uint64_t send = 0;
    uint64_t receive = 0;
  };
  TlsLink(std::unique_ptr<TlsStream> stream, Sequences sequences);

  Result<void> Send(const wire::Message& message, std::span<const std::byte> tensor,
                    Time deadline) override;
  Result<Outcome> Poll(Time deadline, int wake_fd) override;
  void SetFrameLimit(uint64_t bytes) override;
  void SetSpin(Time spin) override { spin_ = spin; }
  void Shutdown() override;
  const NodeId& peer() const override { return stream_->peer(); }

 private:
  using Buffer = std::unique_ptr<FrameBuffer>;

  std::unexpected<Error> Dead(ErrorCode code, std::string reason);
  // Reads what is there into the queue. Errors end the link, except that frames before the end stay
  // takeable.
  void Receive();
  // For `spin_` and until `deadline` at most.
  void Spin(Time deadline);
  bool QueueIsFull() const;
  Result<void> WriteAll(std::span<const std::byte> bytes, Time deadline);
  Result<void> WaitToWrite(Time deadline);
  Result<Outcome> Take();
  Buffer Fresh();

  std::unique_ptr<TlsStream> stream_;
  Sequences sequences_;
  uint64_t limit_ = wire::kMaxDataFrame;
  Time spin_{};
  bool drained_ = false;       // the last read found nothing more
  std::optional<Error> dead_;  // why, once the connection has ended
  Buffer filling_;             // the frame that is being received
  std::deque<Buffer> queue_;   // complete frames, oldest first
  Buffer borrowed_;            // the frame that the caller looks at
  wire::Message borrowed_message_;
  std::vector<Buffer> free_;     // memory for later frames
  std::vector<std::byte> head_;  // scratch of Send
};

}  // namespace exo::net
