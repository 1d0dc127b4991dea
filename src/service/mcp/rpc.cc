#include "service/mcp/rpc.h"

#include <fmt/format.h>

#include "service/fields.h"

namespace exo::service::mcp {
namespace {

constexpr size_t kMaxIdBytes = 256;  // it is kept and sent back; clients count or send UUIDs

bool IsUsableId(const Json& id) {
  if (id.is_string()) return id.get_ref<const std::string&>().size() <= kMaxIdBytes;
  return id.is_number_integer();
}

std::unexpected<RpcError> Invalid(std::string message, Json id = nullptr) {
  return std::unexpected(RpcError{kInvalidRequest, std::move(message), std::move(id)});
}

}  // namespace

std::expected<Message, RpcError> ReadMessage(std::string_view text) {
  auto json = ParseJson(text);
  if (!json) return std::unexpected(RpcError{kParseError, json.error().message});
  if (json->is_array()) return Invalid("batches are not part of MCP; send each message for itself");
  if (!json->is_object()) return Invalid("a message must be a JSON object");
  Message message;
  if (const auto id = json->find("id"); id != json->end()) {
    if (!IsUsableId(*id)) {
      return Invalid(
          fmt::format("'id' is {}, but must be a text of at most {} bytes or a whole "
                      "number",
                      Shown(*id), kMaxIdBytes));
    }
    message.id = *id;
  }
  if (const Json* version = Find(*json, "jsonrpc"); version == nullptr || *version != "2.0")
    return Invalid("'jsonrpc' must be \"2.0\"", message.id);
  const Json* method = Find(*json, "method");
  if (method == nullptr && (json->contains("result") || json->contains("error"))) {
    message.kind = MessageKind::kResponse;
    return message;
  }
  if (method == nullptr || !method->is_string())
    return Invalid("'method' must be a text", message.id);
  message.kind = message.id.is_null() ? MessageKind::kNotification : MessageKind::kRequest;
  message.method = method->get<std::string>();
  if (const Json* params = Find(*json, "params"); params != nullptr) {
    if (!params->is_object()) return Invalid("'params' must be an object", message.id);
    message.params = *params;
  }
  return message;
}

Json ResultMessage(const Json& id, Json result) {
  return {{"jsonrpc", "2.0"}, {"id", id}, {"result", std::move(result)}};
}

Json ErrorMessage(const RpcError& error) {
  return {{"jsonrpc", "2.0"},
          {"id", error.id},
          {"error", {{"code", error.code}, {"message", error.message}}}};
}

Json NotificationMessage(const char* method, Json params) {
  return {{"jsonrpc", "2.0"}, {"method", method}, {"params", std::move(params)}};
}

}  // namespace exo::service::mcp
