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

size_t BytesOf(const StoredResponse& response) {
  size_t bytes = response.json.size();
  for (const model::ChatMessage& message : response.messages) bytes += BytesOf(message);
  for (const StoredItem& item : response.items)
    bytes += sizeof(item) + item.id.size() + item.json.size();
  return bytes;
}

}  // namespace

void ResponseStore::Add(uint64_t key, const std::string& id, StoredResponse response) {
  if (const auto known = by_id_.find(id); known != by_id_.end()) Drop(known);
  Entry entry{.key = key, .id = id, .response = std::move(response)};
  entry.bytes = BytesOf(entry.response);
  bytes_ += entry.bytes;
  by_id_[id] = entries_.insert(entries_.end(), std::move(entry));
  while (entries_.size() > kMaxStoredResponses || bytes_ > kMaxStoredBytes)
    Drop(by_id_.find(entries_.front().id));
}

const StoredResponse* ResponseStore::Find(uint64_t key, const std::string& id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->key != key) return nullptr;
  return &found->second->response;
}

bool ResponseStore::Remove(uint64_t key, const std::string& id) {
  if (Find(key, id) == nullptr) return false;
  Drop(by_id_.find(id));
  return true;
}

void ResponseStore::Drop(std::map<std::string, std::list<Entry>::iterator>::iterator at) {
  bytes_ -= at->second->bytes;
  entries_.erase(at->second);
  by_id_.erase(at);
}

}  // namespace exo::service::openai
