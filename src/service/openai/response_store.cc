#include "service/openai/response_store.h"

namespace exo::service::openai {
namespace {

size_t BytesOf(const model::Data& data);

size_t BytesOf(const model::DataMap& map) {
  size_t bytes = 0;
  for (const model::DataMember& one : map) bytes += one.key.size() + BytesOf(one.value);
  return bytes;
}

size_t BytesOf(const model::Data& data) {
  size_t bytes = sizeof(data);
  if (const auto* text = std::get_if<std::string>(&data.value)) bytes += text->size();
  if (const auto* map = std::get_if<model::DataMap>(&data.value)) bytes += BytesOf(*map);
  if (const auto* list = std::get_if<model::DataList>(&data.value)) {
    for (const model::Data& item : *list) bytes += BytesOf(item);
  }
  return bytes;
}

size_t BytesOf(const model::ChatMessage& message) {
  size_t bytes = sizeof(message) + message.content.value_or("").size() + message.reasoning.size();
  for (const model::ToolCall& call : message.tool_calls)
    bytes += sizeof(call) + call.id.size() + call.name.size() + BytesOf(call.arguments);
  return bytes;
}

}  // namespace

void ResponseStore::Add(uint64_t key, const std::string& id, Messages messages) {
  Remove(id);
  Entry entry{.key = key, .id = id, .messages = std::move(messages)};
  for (const model::ChatMessage& message : entry.messages) entry.bytes += BytesOf(message);
  bytes_ += entry.bytes;
  by_id_[id] = entries_.insert(entries_.end(), std::move(entry));
  while (entries_.size() > kMaxStoredResponses || bytes_ > kMaxStoredBytes) {
    const std::string oldest = entries_.front().id;
    Remove(oldest);
  }
}

const ResponseStore::Messages* ResponseStore::Find(uint64_t key, const std::string& id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->key != key) return nullptr;
  return &found->second->messages;
}

bool ResponseStore::Remove(const std::string& id) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return false;
  bytes_ -= found->second->bytes;
  entries_.erase(found->second);
  by_id_.erase(found);
  return true;
}

}  // namespace exo::service::openai
