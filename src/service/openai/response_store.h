// Responses that clients may read again, delete, and go on with (previous_response_id): in memory,
// the latest ones.
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

// An item of a conversation, as lists show it.
struct StoredItem {
  std::string id;
  std::string json;
};

struct StoredResponse {
  std::vector<model::ChatMessage> messages;  // the conversation, the answer included
  std::vector<StoredItem> items;             // of the conversation, the answer's last
  size_t inputs = 0;                         // items before the answer's
  std::string json;                          // the response object
};

class ResponseStore {
 public:
  // `key`: whose conversation it is (Caller::key); nobody else finds it.
  void Add(uint64_t key, const std::string& id, StoredResponse response);
  // Null: not there, no longer, or another's.
  const StoredResponse* Find(uint64_t key, const std::string& id) const;
  // Those that go on with it keep what they have of it. False: as Find.
  bool Remove(uint64_t key, const std::string& id);

 private:
  struct Entry {
    uint64_t key = 0;
    std::string id;
    StoredResponse response;
    size_t bytes = 0;
  };
  void Drop(std::map<std::string, std::list<Entry>::iterator>::iterator at);

  std::list<Entry> entries_;  // the oldest first
  std::map<std::string, std::list<Entry>::iterator> by_id_;
  size_t bytes_ = 0;
};

}  // namespace exo::service::openai
