// A TLS connection whose thread waits for it, with frames of the handshake's size: what begins data
// links (net/connect_link.h) and pairings (net/pair_call.h).
//
// Thread: its own, never the loop: every call blocks until the deadline at most.
#pragma once

#include <memory>
#include <vector>

#include "net/frame_buffer.h"
#include "net/tls.h"
#include "net/tls_link.h"

namespace exo::net {

class BlockingStream {
 public:
  // Connects and does TLS. Errors: kDisconnected with the address.
  static Result<BlockingStream> Open(const Identity& identity, const wire::Address& address,
                                     Time deadline);

  // Errors: kDisconnected.
  Result<void> Send(const std::vector<wire::Message>& messages);
  // Errors: kDisconnected; kCorrupt, kUnsupported: no message of this version.
  Result<wire::Message> Receive();
  const TlsStream& tls() const { return *stream_; }
  // The connection goes on as a data link.
  std::unique_ptr<DataLink> IntoLink() &&;

 private:
  BlockingStream(std::unique_ptr<TlsStream> stream, Time deadline)
      : stream_(std::move(stream)), deadline_(deadline) {}
  Result<void> WaitFor(TlsStream::Step step) const;

  std::unique_ptr<TlsStream> stream_;
  Time deadline_;
  std::unique_ptr<FrameBuffer> buffer_ = std::make_unique<FrameBuffer>();
  TlsLink::Sequences sequences_;
};

}  // namespace exo::net
