#include "service/conversations/stream.h"

#include <utility>

#include "service/conversations/rows.h"
#include "service/errors.h"

namespace exo::service::conversations {
namespace {

constexpr StreamFormat kJsonStream{"application/json", ""};
const Headers kFile = {{"Content-Disposition", "attachment; filename=exo-conversations.json"}};

}  // namespace

template <class Then>
auto ConversationStream::Callback(Then then) {
  return [this, then, alive = std::weak_ptr<char>(alive_)](const auto& answer) {
    if (alive.expired()) return;
    waiting_ = false;
    then(answer);
  };
}

void ConversationStream::StartOne(const ConversationId& id) {
  ids_.push_back(id);
  Step();
}

void ConversationStream::StartAll() {
  all_ = true;
  list_ = node::ConversationQuery{.owner = owner_, .limit = node::kMaxPage};
  Step();
}

void ConversationStream::SetPaused(bool paused) {
  paused_ = paused;
  Step();
}

void ConversationStream::Step() {
  if (paused_ || waiting_) return;
  waiting_ = true;
  if (!ids_.empty()) {
    return conversations_.Read(owner_, ids_.front(), after_,
                               Callback([this](const auto& page) { OnPage(page); }));
  }
  if (list_) {
    return conversations_.List(*list_, Callback([this](const auto& page) { OnList(page); }));
  }
  if (all_) exchange_.Push("]}\n");
  exchange_.EndStream(true);
}

void ConversationStream::OnList(const Result<node::ConversationPage>& page) {
  if (!page) return Fail(page.error());
  for (const node::ConversationSummary& one : page->data) ids_.push_back(one.id);
  list_->before = page->next;
  if (page->next.empty()) list_.reset();
  if (!started_) Push(R"({"exo_conversations":1,"data":[)");
  Step();
}

void ConversationStream::OnPage(const Result<node::MessagePage>& page) {
  if (!page) {
    // Of several, or in the middle of one: it was deleted meanwhile.
    const bool goes_on = page.error().code == ErrorCode::kNotFound && (all_ || begun_);
    if (!goes_on) return Fail(page.error());
    if (begun_) Push("]}");
    return EndConversation();
  }
  const std::string text = TextOf(*page);
  if (!all_ && !started_ && !page->more) return exchange_.Send({.body = text});
  Push(text);
  if (!page->more) return EndConversation();
  after_ = page->messages.back().id;
  begun_ = true;
  Step();
}

void ConversationStream::EndConversation() {
  ids_.pop_front();
  after_.reset();
  begun_ = false;
  Step();
}

std::string ConversationStream::TextOf(const node::MessagePage& page) {
  std::string text;
  if (!begun_) {
    if (any_) text += ",\n";
    any_ = true;
    text += Dump(ConversationJson(page.conversation));
    text.back() = ',';
    text += R"("messages":[)";
  }
  bool first = !begun_;
  for (const node::StoredMessage& message : page.messages) {
    if (!std::exchange(first, false)) text += ',';
    text += MessageText(message);
  }
  if (!page.more) text += "]}";
  return text;
}

void ConversationStream::Push(const std::string& text) {
  if (!std::exchange(started_, true)) exchange_.StartStream(kJsonStream, all_ ? kFile : Headers{});
  exchange_.Push(text);
}

void ConversationStream::Fail(const Error& error) {
  waiting_ = true;  // nothing follows
  if (!started_) return exchange_.Send(render_(FromError(error)));
  exchange_.EndStream(false);
}

}  // namespace exo::service::conversations
