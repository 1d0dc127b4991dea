// The answer to an import of conversations: its counts once it is done, or, as a stream, how far it
// is after each part. The client that goes away ends the import between two parts.
//
// Thread: the event loop.
#pragma once

#include <memory>
#include <vector>

#include "node/conversations.h"
#include "service/conversations/stream.h"
#include "service/http/exchange.h"

namespace exo::service::conversations {

class ImportAnswer final : public Handler {
 public:
  // `exchange` outlives it. `streams`: as server-sent events.
  ImportAnswer(Exchange& exchange, Render render, bool streams)
      : exchange_(exchange), render_(std::move(render)), streams_(streams) {}

  // Once.
  void Begin(node::Conversations& conversations, std::vector<node::ImportedRow> rows);
  void SetPaused(bool paused) override { paused_ = paused; }

 private:
  void OnPart(const node::ImportProgress& progress);
  void OnDone(const Result<node::ImportProgress>& whole);
  void Push(std::string_view bytes);

  Exchange& exchange_;
  const Render render_;
  const bool streams_;
  bool started_ = false, paused_ = false;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace exo::service::conversations
