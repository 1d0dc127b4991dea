// Conversations with all their messages, in parts, as the client reads them: one, or all of an
// owner's. Only a page of messages is in memory at a time.
//
// Thread: the event loop.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "node/conversations.h"
#include "service/http/exchange.h"

namespace exo::service::conversations {

using Render = std::function<HttpResponse(const ApiError&)>;

class ConversationStream final : public Handler {
 public:
  // `conversations` and `exchange` outlive it.
  ConversationStream(node::Conversations& conversations, uint64_t owner, Render render,
                     Exchange& exchange)
      : conversations_(conversations),
        owner_(owner),
        render_(std::move(render)),
        exchange_(exchange) {}

  // One conversation: {…, "messages": […]}.
  void StartOne(const ConversationId& id);
  // All: {"exo_conversations": 1, "data": […]}.
  void StartAll();
  void SetPaused(bool paused) override;

 private:
  void Step();
  void OnList(const Result<node::ConversationPage>& page);
  void OnPage(const Result<node::MessagePage>& page);
  void EndConversation();
  std::string TextOf(const node::MessagePage& page);
  void Push(const std::string& text);
  void Fail(const Error& error);
  // then(answer), unless this object is gone by then.
  template <class Then>
  auto Callback(Then then);

  node::Conversations& conversations_;
  const uint64_t owner_;
  const Render render_;
  Exchange& exchange_;
  bool all_ = false;
  std::optional<node::ConversationQuery> list_;  // for the next page of ids; unset: there is none
  std::deque<ConversationId> ids_;               // that are to be read; the first one is
  std::optional<MessageId> after_;               // of the first one: the last message so far
  bool begun_ = false;                           // the first one is written in part
  bool started_ = false;                         // the stream
  bool any_ = false;                             // a conversation was written
  bool paused_ = false;
  bool waiting_ = false;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace exo::service::conversations
