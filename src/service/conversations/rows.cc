#include "service/conversations/rows.h"

#include <algorithm>
#include <array>

#include "service/fields.h"
#include "service/http/limits.h"

namespace exo::service::conversations {
namespace {

constexpr int64_t kMaxTime = int64_t{1} << 48;  // the year 10889, as on the wire

Json DataOf(const node::RowContent& content) {
  auto data = ParseJson(content.data);
  return data && data->is_object() ? *std::move(data) : Json::object();
}

// A text of the body; empty where it is absent or null.
Parsed<std::string> ReadText(const Json& body, const char* name, size_t max_bytes) {
  const Json* value = Find(body, name);
  if (value == nullptr) return "";
  if (!value->is_string()) return BadValue(name, fmt::format("'{}' must be a string", name));
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() <= max_bytes) return text;
  return BadValue(name, fmt::format("'{}' has {} bytes, but must have at most {}", name,
                                    text.size(), max_bytes));
}

Parsed<> CheckMessageId(const Json& body, const char* name) {
  const std::string text = TRY(ReadText(body, name, kMaxTarget));
  if (!text.empty()) (void)TRY(ReadId<MessageId>(text, name));
  return {};
}

Parsed<> CheckAttachments(const Json& body) {
  const Json* list = Find(body, "attachments");
  if (list == nullptr) return {};
  const auto is_attachment = [](const Json& one) {
    return one.is_object() &&
           std::ranges::all_of(std::array{"name", "kind", "text"}, [&](const char* field) {
             const Json* value = Find(one, field);
             return value == nullptr || value->is_string();
           });
  };
  if (list->is_array() && std::ranges::all_of(*list, is_attachment)) return {};
  return BadValue("attachments",
                  "'attachments' must be a list of objects with the texts name, kind and text");
}

Parsed<int64_t> ReadTime(const Json& body, const char* name) {
  return TRY(ReadInteger(body, name, 0, kMaxTime)).value_or(0);
}

template <class T>
Parsed<T> Named(Parsed<T> result, const std::string& where) {
  if (!result) result.error().message = where + ": " + result.error().message;
  return result;
}

template <class Id>
Parsed<Id> ReadIdField(const Json& object) {
  const std::string text = TRY(ReadText(object, "id", kMaxTarget));
  return ReadId<Id>(text, "id");
}

Parsed<const Json*> FindList(const Json& object, const char* name) {
  const Json* list = Find(object, name);
  if (list != nullptr && list->is_array()) return list;
  return BadValue(name, fmt::format("'{}' must be a list", name));
}

Parsed<node::ImportedRow> ReadImportedMessage(const Json& message, wire::RowKey key,
                                              int64_t now_ms) {
  if (!message.is_object()) return BadValue("messages", "a message must be an object");
  key.message = TRY(ReadIdField<MessageId>(message));
  const MessageFields fields = TRY(ReadMessageFields(message));
  const auto updated_ms = static_cast<uint64_t>(TRY(ReadTime(message, "updated")));
  return node::ImportedRow{
      .key = key, .content = ToContent(fields, nullptr, now_ms), .updated_ms = updated_ms};
}

Parsed<> ReadImportedConversation(const Json& one, uint64_t owner, int64_t now_ms,
                                  std::vector<node::ImportedRow>& rows) {
  if (!one.is_object()) return BadValue("data", "a conversation must be an object");
  const wire::RowKey key{.owner = owner, .conversation = TRY(ReadIdField<ConversationId>(one))};
  ConversationFields fields = TRY(ReadConversationFields(one));
  const int64_t created = TRY(ReadTime(one, "created"));
  const Json* messages = TRY(FindList(one, "messages"));
  // What an export tells as its last change may be a message's: no earlier than its own.
  rows.push_back({.key = key,
                  .content = WithFields(nullptr, fields, created == 0 ? now_ms : created),
                  .updated_ms = static_cast<uint64_t>(TRY(ReadTime(one, "updated")))});
  for (size_t i = 0; i < messages->size(); ++i) {
    rows.push_back(TRY(
        Named(ReadImportedMessage((*messages)[i], key, now_ms), fmt::format("messages[{}]", i))));
  }
  return {};
}

}  // namespace

Parsed<ConversationFields> ReadConversationFields(const Json& body) {
  ConversationFields fields;
  if (body.contains("title")) fields.title = TRY(ReadText(body, "title", node::kMaxTitle));
  if (body.contains("model")) fields.data["model"] = TRY(ReadText(body, "model", kMaxModelName));
  if (body.contains("settings")) {
    const Json& settings = body["settings"];
    if (!settings.is_object() && !settings.is_null())
      return BadValue("settings", "'settings' must be an object");
    fields.data["settings"] = settings;
  }
  if (body.contains("leaf")) {
    TRY(CheckMessageId(body, "leaf"));
    fields.data["leaf"] = body["leaf"];
  }
  return fields;
}

node::RowContent WithFields(const node::RowContent* now, const ConversationFields& fields,
                            int64_t now_ms) {
  Json data = now == nullptr ? Json{{"created", now_ms}} : DataOf(*now);
  for (const auto& [name, value] : fields.data.items()) {
    if (value.is_null() || value == "") {
      data.erase(name);
    } else {
      data[name] = value;
    }
  }
  const std::string title = now == nullptr ? "" : now->text;
  return {.text = fields.title.value_or(title), .data = Dump(data)};
}

Parsed<MessageFields> ReadMessageFields(const Json& body) {
  static constexpr IgnoredField kFields[] = {
      {"reasoning", JsonKind::kText},
      {"tool_call_id", JsonKind::kText},
      {"model", JsonKind::kText},
      {"stats", JsonKind::kObject},
  };
  static constexpr const char* kKept[] = {"parent",     "role",         "reasoning",
                                          "tool_calls", "tool_call_id", "attachments",
                                          "model",      "stats",        "logprobs"};
  TRY(CheckMessageId(body, "parent"));
  const std::string role = TRY(ReadRequiredString(body, "role", kMaxStopBytes));
  constexpr std::array kRoles = {"system", "user", "assistant", "tool"};
  if (std::ranges::find(kRoles, role) == kRoles.end()) {
    return BadValue("role", fmt::format("'role' is '{}', but must be system, user, assistant or "
                                        "tool",
                                        role.substr(0, 64)));
  }
  TRY(CheckIgnored(body, kFields));
  TRY(CheckAttachments(body));
  if (Find(body, "tool_calls") != nullptr) (void)TRY(FindList(body, "tool_calls"));
  MessageFields fields{.content = TRY(ReadText(body, "content", wire::kMaxRowBytes)),
                       .created_ms = TRY(ReadTime(body, "created"))};
  for (const char* name : kKept) {
    if (const Json* value = Find(body, name)) fields.data[name] = *value;
  }
  return fields;
}

node::RowContent ToContent(const MessageFields& fields, const node::RowContent* now,
                           int64_t now_ms) {
  Json data = fields.data;
  data["created"] = fields.created_ms != 0 ? fields.created_ms : now_ms;
  if (now != nullptr && fields.created_ms == 0) {
    const Json former = DataOf(*now);
    if (const Json* created = Find(former, "created")) data["created"] = *created;
  }
  return {.text = fields.content, .data = Dump(data)};
}

Parsed<std::vector<node::ImportedRow>> ReadImport(const Json& body, uint64_t owner,
                                                  int64_t now_ms) {
  if (Find(body, "exo_conversations") == nullptr || body["exo_conversations"] != 1) {
    return BadValue("exo_conversations",
                    "'exo_conversations' must be 1: send what an export of conversations wrote");
  }
  const Json* list = TRY(FindList(body, "data"));
  std::vector<node::ImportedRow> rows;
  for (size_t i = 0; i < list->size(); ++i) {
    TRY(Named(ReadImportedConversation((*list)[i], owner, now_ms, rows),
              fmt::format("data[{}]", i)));
  }
  return rows;
}

namespace {

Json Shared(const node::ConversationSummary& conversation, const Json& data) {
  const auto field = [&](const char* name) {
    const Json* value = Find(data, name);
    return value == nullptr ? Json() : *value;
  };
  return {{"id", conversation.id.Hex()},
          {"title", conversation.content.text},
          {"model", field("model")},
          {"created", field("created")},
          {"updated", conversation.updated_ms}};
}

}  // namespace

Json ConversationJson(const node::ConversationSummary& conversation) {
  const Json data = DataOf(conversation.content);
  Json json = Shared(conversation, data);
  json["settings"] = data.value("settings", Json::object());
  json["leaf"] = data.value("leaf", Json());
  return json;
}

Json ListedJson(const node::ConversationSummary& conversation) {
  Json json = Shared(conversation, DataOf(conversation.content));
  json["snippet"] = conversation.snippet;
  return json;
}

// The data is a JSON object (ConversationKeeper checks what members send). What the row itself
// says goes last, and so counts, whatever stands in it.
std::string MessageText(const node::StoredMessage& message) {
  const Json own = {
      {"id", message.id.Hex()}, {"content", message.content.text}, {"updated", message.updated_ms}};
  const std::string_view data = message.content.data;
  const bool has_fields = data.size() > 2;
  return fmt::format("{}{}{}", data.substr(0, data.size() - 1), has_fields ? "," : "",
                     std::string_view(Dump(own)).substr(1));
}

}  // namespace exo::service::conversations
