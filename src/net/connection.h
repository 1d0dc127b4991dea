// One TLS connection on the event loop that carries frames: handshake of TLS, queue of what is to
// be sent, frames received. Knows nothing of members or sessions (net/peers.cc).
//
// Thread: loop. Owner: Peers, which destroys it never from inside one of its callbacks.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "net/event_loop.h"
#include "net/frame_buffer.h"
#include "net/tls.h"
#include "net/tls_link.h"
#include "wire/messages.h"

namespace exo::net {

class Connection {
 public:
  // Unsent bytes of one peer: four of the largest control frames. More means that the peer does not
  // read.
  static constexpr size_t kMaxUnsent = 4 * size_t{wire::kMaxControlFrame};
  // Read in one turn of the loop before others get theirs.
  static constexpr uint64_t kTurnBytes = 256 << 10;

  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnTls() = 0;
    virtual void OnFrame(wire::Message message) = 0;
    virtual void OnSent() = 0;                             // the queue has become empty
    virtual void OnClosed(const std::string& reason) = 0;  // once; not after Close
  };

  Connection(EventLoop& loop, const Identity& identity, Fd fd, ProofSide side, Owner& owner);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start();
  // False when the queue is full; nothing is queued then.
  bool Send(const wire::Message& message);
  uint64_t skipped() const { return skipped_; }
  void SetFrameLimit(uint64_t bytes) { limit_ = bytes; }
  void StopReading() { reading_ = false; }
  // No callback comes after this.
  void Close();
  // Sends what is queued and close_notify, then waits up to a second for the peer to close: what it
  // has not read by then would be lost with the socket. The only callback that still comes is
  // OnClosed.
  void CloseWhenSent();
  // Ends this object and hands the stream to a data link. Only inside OnSent, with reading stopped.
  std::unique_ptr<DataLink> Release();

  const TlsStream& stream() const { return *stream_; }

 private:
  void Later(void (Connection::*what)());
  void Handshake();
  void ReadSome();
  void Discard();
  void WriteSome();
  void WriteFailed();
  void WaitToRead();
  void Fail(const std::string& reason);
  void ReportFailure();

  EventLoop& loop_;
  Owner& owner_;
  std::unique_ptr<TlsStream> stream_;
  std::unique_ptr<FdWatch> watch_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  FrameBuffer buffer_;
  TlsLink::Sequences sequences_;
  uint64_t limit_;
  uint64_t skipped_ = 0;  // frames of types that this version does not know
  std::deque<std::vector<std::byte>> queue_;
  size_t offset_ = 0;  // sent of queue_.front()
  size_t unsent_ = 0;
  Timer linger_;
  std::string failure_;
  bool up_ = false;  // TLS is done
  bool reading_ = true;
  bool closing_ = false;  // CloseWhenSent
  bool ended_ = false;    // our direction is closed
  bool writing_ = false;  // waits for room in the socket
  bool broken_ = false;   // nothing can be sent any more; what arrived before is still delivered
  bool closed_ = false;
};

}  // namespace exo::net
