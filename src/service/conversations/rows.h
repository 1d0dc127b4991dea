// The JSON of conversations and messages, from and to the rows that the node keeps: a title or a
// message's content is a row's text, the other fields are its data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/conversations.h"
#include "service/errors.h"
#include "service/json.h"

namespace exo::service::conversations {

// What a body says of a conversation; what it does not name stays.
struct ConversationFields {
  std::optional<std::string> title;
  Json data = Json::object();  // model, settings, leaf; null: none any more
};
Parsed<ConversationFields> ReadConversationFields(const Json& body);
// A conversation (null: a new one) with these fields.
node::RowContent WithFields(const node::RowContent* now, const ConversationFields& fields,
                            int64_t now_ms);

// Of a body or an import. `created`: 0, unless the body says it.
struct MessageFields {
  std::string content;
  Json data = Json::object();
  int64_t created_ms = 0;
};
Parsed<MessageFields> ReadMessageFields(const Json& body);
// In place of `now` (null: a new one), whose time of creation stays.
node::RowContent ToContent(const MessageFields& fields, const node::RowContent* now,
                           int64_t now_ms);

// The rows of what an export wrote. Errors name where: data[3]: messages[1]: ….
Parsed<std::vector<node::ImportedRow>> ReadImport(const Json& body, uint64_t owner, int64_t now_ms);

// `name` says which id is wrong.
template <class Id>
Parsed<Id> ReadId(std::string_view text, const char* name) {
  const auto id = Id::FromHex(text);
  if (id && !id->IsZero()) return *id;
  return BadValue(name, fmt::format("'{}' is '{}', but must have 32 hexadecimal digits (lower "
                                    "case), not all 0",
                                    name, text.substr(0, 64)));
}

// As answers show them. `ListedJson` has a snippet in place of settings and leaf.
Json ConversationJson(const node::ConversationSummary& conversation);
Json ListedJson(const node::ConversationSummary& conversation);
// JSON text; large ones are not parsed for it.
std::string MessageText(const node::StoredMessage& message);

}  // namespace exo::service::conversations
