// Conversations that responses may go on with (previous_response_id): in memory, the latest ones.
// Thread: the event loop.
#pragma once

#include <list>
#include <map>
#include <string>
#include <vector>

#include "model/chat_template.h"

namespace exo::service::openai {

// What a conversation of an afternoon needs; the oldest go first.
inline constexpr size_t kMaxStoredResponses = 256;
inline constexpr size_t kMaxStoredBytes = 32u << 20;

class ResponseStore {
 public:
  using Messages = std::vector<model::ChatMessage>;

  // `key`: whose conversation it is (Caller::key); nobody else finds it.
  void Add(uint64_t key, const std::string& id, Messages messages);
  // Null: not there, no longer, or another's.
  const Messages* Find(uint64_t key, const std::string& id) const;
  bool Remove(const std::string& id);

 private:
  struct Entry {
    uint64_t key = 0;
    std::string id;
    Messages messages;
    size_t bytes = 0;
  };
  std::list<Entry> entries_;  // the oldest first
  std::map<std::string, std::list<Entry>::iterator> by_id_;
  size_t bytes_ = 0;
};

}  // namespace exo::service::openai
